"""The artifact store as workers on other machines see it: what they may touch, and uploads that go on."""
