"""RabbitMQ: names, topology, connections, publishing, consuming, and the messages on the wire.

Called by the parts that publish events, take submissions and commands, and by the client. Knows AMQP and the domain;
never the database, never what a message leads to.
"""
