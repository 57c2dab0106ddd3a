"""Workflows and steps in PostgreSQL, published to RabbitMQ."""
