package redisserver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// clusterSlots is the number of hash slots of every Redis cluster.
const clusterSlots = 16384

// StartCluster runs a cluster of one node, which holds all slots, and waits until
// the cluster is up.
func StartCluster(t testing.TB, args ...string) *Server {
	t.Helper()
	s := Start(t, append([]string{"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"}, args...)...)
	slots := make([]int, clusterSlots)
	for i := range slots {
		slots[i] = i
	}
	await(t, s, "the cluster is up", func(ctx context.Context, c *redis.Client) error {
		info, err := c.ClusterInfo(ctx).Result()
		if err != nil {
			return err
		}
		if strings.Contains(info, "cluster_state:ok") {
			return nil
		}
		if strings.Contains(info, "cluster_slots_assigned:0") {
			if err := c.ClusterAddSlots(ctx, slots...).Err(); err != nil {
				return err
			}
		}
		return fmt.Errorf("state of the cluster: %s", info)
	})
	return s
}

// StartSentinel runs a Sentinel that watches master under the name masterName,
// and waits until it knows where the master is.
func StartSentinel(t testing.TB, masterName string, master *Server, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := start(t, &Server{t: t, args: func(port int) []string {
		// A Sentinel takes its set-up only from a file that it can write to.
		conf := filepath.Join(dir, fmt.Sprintf("sentinel-%d.conf", port))
		lines := fmt.Sprintf("port %d\nbind %s\ndir %s\nsentinel monitor %s %s %d 1\n",
			port, host, dir, masterName, host, master.Port())
		if err := os.WriteFile(conf, []byte(lines), 0o600); err != nil {
			t.Fatalf("redisserver: write the Sentinel's configuration: %v", err)
		}
		return append([]string{conf, "--sentinel"}, args...)
	}})
	await(t, s, "the Sentinel knows the master", func(ctx context.Context, c *redis.Client) error {
		addr, err := c.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName).StringSlice()
		if err != nil {
			return err
		}
		if want := []string{host, strconv.Itoa(master.Port())}; len(addr) != 2 || addr[0] != want[0] || addr[1] != want[1] {
			return fmt.Errorf("address of the master: %q, want %q", addr, want)
		}
		return nil
	})
	return s
}

// await repeats check until it returns nil.
func await(t testing.TB, s *Server, what string, check func(context.Context, *redis.Client) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), Protocol: 2, ContextTimeoutEnabled: true})
	defer func() {
		if err := c.Close(); err != nil {
			t.Errorf("redisserver: close: %v", err)
		}
	}()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := check(ctx, c)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("redisserver: %s: not so within %s: %v\n%s", what, readyWithin, err, s.process.output.String())
		case <-tick.C:
		}
	}
}
