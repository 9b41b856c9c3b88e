// Publishes the lines of stdin, each as key and value: node publish.js SERVERS TOPIC
const { Kafka, Partitioners, logLevel } = require("kafkajs");
const { readFileSync } = require("fs");

const [servers, topic] = process.argv.slice(2);
const kafka = new Kafka({ brokers: servers.split(","), logLevel: logLevel.ERROR });
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
const keys = readFileSync(0, "utf8").split("\n").filter((line) => line);

(async () => {
  await producer.connect();
  await producer.send({ topic, messages: keys.map((key) => ({ key, value: key })) });
  await producer.disconnect();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
