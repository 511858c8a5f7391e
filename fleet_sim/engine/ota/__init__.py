"""Campaigns, live and rehearsed: joins the machines of vehicles, the service and the truth."""
