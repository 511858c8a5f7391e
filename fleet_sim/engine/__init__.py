"""Runs a scenario: the only room that joins the others and awaits."""
