"""Private servers: a real PostgreSQL and a real RabbitMQ as child processes, for development, tests and the demo.

Nothing system-wide is touched: own ports on 127.0.0.1, own data, own logs, stopped and removed with their owner.
"""
