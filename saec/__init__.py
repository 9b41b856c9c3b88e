"""SAEC: scheduled requests in, the right message in the right Kafka topic at its instant, once."""
