package tests_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// startDNS runs a DNS server that knows the addresses of every name, and
// returns where.
func startDNS(t *testing.T, addresses ...[4]byte) string {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		packet := make([]byte, 512)
		for {
			n, client, err := socket.ReadFrom(packet)
			if err != nil {
				return // closed below
			}
			reply, err := answerDNS(packet[:n], addresses)
			if assert.NoError(t, err) {
				_, _ = socket.WriteTo(reply, client) // it asks again
			}
		}
	}()
	t.Cleanup(func() {
		_ = socket.Close()
		<-ended
	})
	return socket.LocalAddr().String()
}

func answerDNS(query []byte, addresses [][4]byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil {
		return nil, err
	}
	message.Response = true
	message.Additionals = nil
	for _, question := range message.Questions {
		if question.Type != dnsmessage.TypeA {
			continue
		}
		for _, address := range addresses {
			message.Answers = append(message.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 60},
				Body:   &dnsmessage.AResource{A: address},
			})
		}
	}
	return message.Pack()
}
