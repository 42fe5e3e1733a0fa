"""Accounts, sessions, tokens, workspaces, members and invitations."""
