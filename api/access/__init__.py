"""Who may do what: tokens, sessions, the door that asks for them, and how often somebody may knock."""
