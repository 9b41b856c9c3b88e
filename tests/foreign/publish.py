"""Publishes the lines of stdin, each as key and value: `publish.py CLIENT SERVERS TOPIC`."""

import asyncio
import sys


def with_kafka_python(servers: str, topic: str, keys: list[bytes]) -> None:
    """kafka-python, as it is by default."""
    from kafka import KafkaProducer  # noqa: PLC0415

    producer = KafkaProducer(bootstrap_servers=servers.split(","))
    for sent in [producer.send(topic, key=key, value=key) for key in keys]:
        sent.get(30)
    producer.close()


def with_aiokafka(servers: str, topic: str, keys: list[bytes]) -> None:
    """aiokafka, as it is by default."""
    from aiokafka import AIOKafkaProducer  # noqa: PLC0415

    async def publish() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=servers)
        await producer.start()
        await asyncio.gather(*[await producer.send(topic, key=key, value=key) for key in keys])
        await producer.stop()

    asyncio.run(publish())


def main() -> None:
    """Publish."""
    client, servers, topic = sys.argv[1:]
    keys = sys.stdin.buffer.read().split()
    {"kafka-python": with_kafka_python, "aiokafka": with_aiokafka}[client](servers, topic, keys)


if __name__ == "__main__":
    main()
