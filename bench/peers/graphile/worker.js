// graphile-worker with a task that produces and awaits delivery: node worker.js URL SERVERS TOPIC
const { run, Logger } = require("graphile-worker");
const { Kafka, logLevel } = require("kafkajs");

const [url, servers, topic] = process.argv.slice(2);
const head = Buffer.alloc(11);

async function main() {
  const kafka = new Kafka({ brokers: [servers], logLevel: logLevel.NOTHING });
  const producer = kafka.producer({ allowAutoTopicCreation: false });
  await producer.connect();
  await run({
    connectionString: url,
    concurrency: 100,
    pollInterval: 50,
    maxPoolSize: 20,
    noHandleSignals: true,
    logger: new Logger(() => () => {}),
    taskList: {
      send: async ({ id, body }) => {
        const value = Buffer.concat([head, Buffer.from(id), Buffer.from(body)]);
        await producer.send({ topic, acks: -1, messages: [{ key: id, value }] });
      },
    },
  });
  process.stdout.write("ready\n");
}

main();
