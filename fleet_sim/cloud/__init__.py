"""The cloud a run goes to: where it is, deploying to it, identities, and collecting what it saw.

AWS and the local AWS take the same path; `Target` is all that differs.
"""
