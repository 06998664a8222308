"""The record: what is true about datasets, jobs and their history, in SQLite or PostgreSQL.

The record is written first, then anything is sent. Redis is transport; whatever it loses is here.
"""
