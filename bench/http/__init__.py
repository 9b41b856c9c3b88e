"""The HTTP endpoint, beside a bare one and a plain producer, and with Kafka away."""
