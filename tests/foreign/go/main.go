// Publishes the lines of stdin, each as key and value: publish CLIENT SERVERS TOPIC
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"hash"
	"log"
	"os"
	"strings"

	"github.com/IBM/sarama"
	kafka "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	client, servers, topic := os.Args[1], strings.Split(os.Args[2], ","), os.Args[3]
	var keys []string
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		keys = append(keys, lines.Text())
	}
	publish := map[string]func([]string, string, []string) error{
		"sarama": withSarama, "franz-go": withFranz, "kafka-go": withKafkaGo,
	}[client]
	if err := publish(servers, topic, keys); err != nil {
		log.Fatal(err)
	}
}

func withSarama(servers []string, topic string, keys []string) error {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewCustomPartitioner(
		sarama.WithAbsFirst(), sarama.WithCustomHashFunction(newMurmur2))
	producer, err := sarama.NewSyncProducer(servers, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	var messages []*sarama.ProducerMessage
	for _, key := range keys {
		messages = append(messages, &sarama.ProducerMessage{
			Topic: topic, Key: sarama.StringEncoder(key), Value: sarama.StringEncoder(key)})
	}
	return producer.SendMessages(messages)
}

func withFranz(servers []string, topic string, keys []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(servers...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer client.Close()
	var records []*kgo.Record
	for _, key := range keys {
		records = append(records, &kgo.Record{Key: []byte(key), Value: []byte(key)})
	}
	return client.ProduceSync(context.Background(), records...).FirstErr()
}

func withKafkaGo(servers []string, topic string, keys []string) error {
	writer := &kafka.Writer{
		Addr: kafka.TCP(servers...), Topic: topic, Balancer: kafka.Murmur2Balancer{}}
	defer writer.Close()
	var messages []kafka.Message
	for _, key := range keys {
		messages = append(messages, kafka.Message{Key: []byte(key), Value: []byte(key)})
	}
	return writer.WriteMessages(context.Background(), messages...)
}

// murmur2 as the Java client computes it: sarama has none of its own.
type murmur2 struct{ data []byte }

func newMurmur2() hash.Hash32 { return &murmur2{} }

func (m *murmur2) Write(data []byte) (int, error) { m.data = append(m.data, data...); return len(data), nil }
func (m *murmur2) Sum(before []byte) []byte {
	return binary.BigEndian.AppendUint32(before, m.Sum32())
}
func (m *murmur2) Reset()         { m.data = nil }
func (m *murmur2) Size() int      { return 4 }
func (m *murmur2) BlockSize() int { return 4 }

func (m *murmur2) Sum32() uint32 {
	const factor = 0x5bd1e995
	data := m.data
	sum := uint32(0x9747b28c) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		word := binary.LittleEndian.Uint32(data) * factor
		sum = sum*factor ^ (word^word>>24)*factor
	}
	if len(data) > 2 {
		sum ^= uint32(data[2]) << 16
	}
	if len(data) > 1 {
		sum ^= uint32(data[1]) << 8
	}
	if len(data) > 0 {
		sum = (sum ^ uint32(data[0])) * factor
	}
	sum = (sum ^ sum>>13) * factor
	return sum ^ sum>>15
}
