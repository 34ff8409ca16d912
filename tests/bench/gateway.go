package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// figureCPU is the processor time that a request takes of the process that
	// serves it. What other processes take does not count.
	figureCPU = "processor µs"
	// figureConnections is how many connections to Redis a request opens.
	figureConnections = "connections"
)

// Subjects that targets name.
const (
	subjectUpstream  = "upstream, direct"
	subjectNginx     = "nginx"
	subjectReverse   = "httputil.ReverseProxy"
	subjectPlain     = "krait, no plugin"
	subjectPre       = "krait, pre hook"
	subjectPreRead   = "krait, pre hook that reads a header"
	subjectAuth      = "krait, auth_check"
	subjectCached    = "krait, cached identity"
	subjectSleep     = "krait, pre hook that sleeps 5 ms"
	subjectAwait     = "krait, pre coroutine that awaits 5 ms"
	subjectGRPC      = "krait, pre hook over gRPC"
	subjectRedisPre  = "krait with Redis, pre hook"
	subjectRedisData = "krait with Redis, pre hook with store_data and get_data"
)

// compared are the subjects that targets compare with each other.
func compared() [][]string {
	return [][]string{
		{subjectReverse, subjectPlain, subjectPre, subjectCached},
		{subjectRedisPre, subjectRedisData},
	}
}

// comparedPasses is how many measurements of one that is compared make up a round.
// The speed of a machine changes within seconds: many short ones, taken in turns,
// come closer to each other than a long one. Even: see [measureGroup].
const comparedPasses = 6

// subject is what requests are sent to. process is the one process that serves
// them, nil when there are several; redis is the address of its store, if it has
// one there.
type subject struct {
	name, url, token, redis string
	process                 *exec.Cmd
}

// hooked is an API with one bundle.
type hooked struct {
	id, name, driver string
	middleware       document
	changes          document
	token            string
}

func hook(name string) document { return document{"name": name} }

func hookedAPIs() []hooked {
	auth := document{"use_keyless": false, "enable_coprocess_auth": true}
	pre := func(name string) document { return document{"pre": []document{hook(name)}} }
	return []hooked{
		{"pre", subjectPre, "python", pre("AddHeader"), nil, ""},
		{"read", subjectPreRead, "python", pre("ReadHeader"), nil, ""},
		{"auth", subjectAuth, "python", document{"auth_check": hook("Authenticate")}, auth, "a-token"},
		{"cached", subjectCached, "python", document{
			"auth_check": hook("Identify"),
			"id_extractor": document{
				"extract_from": "header", "extract_with": "value",
				"extractor_config": document{"header_name": "Authorization"},
			},
		}, auth, "a-token"},
		{"sleep", subjectSleep, "python", pre("Sleep"), nil, ""},
		{"await", subjectAwait, "python", pre("AsyncSleep"), nil, ""},
		{"grpc", subjectGRPC, "grpc", pre("AddHeader"), nil, ""},
	}
}

func measureGateway(ctx context.Context, o options, r *results) error {
	dir, err := os.MkdirTemp("", "krait-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	servers := &processes{dir: dir}
	defer servers.stop()
	subjects, err := startSubjects(ctx, o, servers, dir)
	if err != nil {
		return err
	}
	r.Gateway = map[string]series{}
	for _, s := range subjects { // connections open, caches fill, code is loaded
		r.Gateway[s.name] = series{}
		if _, err := saturate(ctx, s.url, s.token, time.Second); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	groups := grouped(subjects)
	for round := range o.rounds {
		shuffle(groups, round)
		for _, group := range groups {
			if err := measureGroup(ctx, o, group, r.Gateway); err != nil {
				return err
			}
		}
	}
	return nil
}

// grouped puts subjects that are compared into one group, and each other one into
// a group of its own.
func grouped(subjects []subject) [][]subject {
	var groups [][]subject
	left := slices.Clone(subjects)
	for _, names := range compared() {
		in := func(s subject) bool { return slices.Contains(names, s.name) }
		var group []subject
		for _, s := range left {
			if in(s) {
				group = append(group, s)
			}
		}
		groups = append(groups, group)
		left = slices.DeleteFunc(left, in)
	}
	for _, s := range left {
		groups = append(groups, []subject{s})
	}
	return groups
}

// shuffle puts groups, and what is in them, into another order for each round, the
// same ones in every run. What has run before a subject may change its figures.
// With one order, the same subjects would profit or suffer in each round.
func shuffle(groups [][]subject, round int) {
	r := rand.New(rand.NewPCG(uint64(round), 0))
	r.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
	for _, group := range groups {
		r.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
	}
}

// measureGroup measures subjects in turns, in their order and then in the reverse
// one: a machine that gets slower or faster meanwhile does so for all alike.
func measureGroup(ctx context.Context, o options, subjects []subject, to map[string]series) error {
	turns := 2
	if len(subjects) > 1 {
		turns = comparedPasses
	}
	done := make([]pass, len(subjects))
	for turn := range turns {
		order := slices.All(subjects)
		if turn%2 == 1 {
			order = slices.Backward(subjects)
		}
		for i, s := range order {
			if err := s.saturate(ctx, o.load, &done[i]); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	for i, s := range subjects {
		if err := s.note(ctx, o.load, done[i], to[s.name]); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// note adds to figures what s has done, and measures its latencies.
func (s subject) note(ctx context.Context, d time.Duration, done pass, figures series) error {
	figures.add("requests/s", float64(done.requests)/done.took.Seconds())
	if s.process != nil {
		figures.add(figureCPU, microseconds(done.processor)/float64(done.requests))
	}
	if s.redis != "" {
		figures.add(figureConnections, float64(done.connections)/float64(done.requests))
	}
	latencies, err := steady(ctx, s.url, s.token, d)
	if err != nil {
		return err
	}
	figures.add("p50 µs", quantile(latencies, 0.5))
	figures.add("p99 µs", quantile(latencies, 0.99))
	return nil
}

// pass is what a subject has done in a round, and what it took.
type pass struct {
	requests    int
	took        time.Duration
	processor   time.Duration
	connections int
}

// saturate has s do as much as it can for d.
func (s subject) saturate(ctx context.Context, d time.Duration, to *pass) error {
	opened, err := connectionsTo(ctx, s.redis)
	if err != nil {
		return err
	}
	spent := processorTime(s.process)
	load, err := saturate(ctx, s.url, s.token, d)
	if err != nil {
		return err
	}
	to.processor += processorTime(s.process) - spent
	to.requests += load.requests
	to.took += time.Duration(float64(load.requests) / load.rate * float64(time.Second))
	if s.redis == "" {
		return nil
	}
	now, err := connectionsTo(ctx, s.redis)
	if err != nil {
		return err
	}
	to.connections += now - opened - 1 // one is this program's
	return nil
}

// connectionsTo returns how many connections the Redis server at address has
// accepted, this one included; 0 without one.
func connectionsTo(ctx context.Context, address string) (int, error) {
	if address == "" {
		return 0, nil
	}
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	stats, err := client.InfoMap(ctx, "stats").Result()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(stats["Stats"]["total_connections_received"])
}

func startSubjects(ctx context.Context, o options, servers *processes, dir string) ([]subject, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	free, err := freeAddresses(7)
	if err != nil {
		return nil, err
	}
	upstream, nginx, reverse, plugin, keeper, memory, stored := free[0], free[1], free[2], free[3], free[4], free[5], free[6]
	for name, text := range map[string]string{
		"upstream.conf": fmt.Sprintf(nginxUpstream, dir, portOf(upstream)),
		"proxy.conf":    fmt.Sprintf(nginxProxy, dir, portOf(nginx), portOf(upstream)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	target := "http://" + upstream
	var proxy *exec.Cmd
	for _, server := range []struct {
		address, name string
		arguments     []string
	}{
		{upstream, nginxBinary, []string{"-c", filepath.Join(dir, "upstream.conf")}},
		{nginx, nginxBinary, []string{"-c", filepath.Join(dir, "proxy.conf")}},
		{reverse, self, []string{"reverse-proxy", "-listen", reverse, "-target", target}},
		{plugin, self, []string{"plugin-server", "-listen", plugin}},
		{keeper, redisBinary, []string{"--port", fmt.Sprint(portOf(keeper)), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}},
	} {
		command, err := servers.start(ctx, server.address, server.name, server.arguments...)
		if err != nil {
			return nil, err
		}
		if server.address == reverse {
			proxy = command
		}
	}
	subjects := []subject{
		{name: subjectUpstream, url: target + "/"},
		{name: subjectNginx, url: "http://" + nginx + "/"},
		{name: subjectReverse, url: "http://" + reverse + "/", process: proxy},
	}
	withMemory, err := memoryGateway(ctx, o, servers, filepath.Join(dir, "memory"), memory, target, plugin)
	if err != nil {
		return nil, err
	}
	withRedis, err := redisGateway(ctx, o, servers, filepath.Join(dir, "redis"), stored, target, keeper)
	return append(append(subjects, withMemory...), withRedis...), err
}

// Programs that are started. nginx is not on everybody's PATH.
const (
	nginxBinary = "/usr/sbin/nginx"
	redisBinary = "redis-server"
	wrkBinary   = "wrk"
)

func memoryGateway(ctx context.Context, o options, servers *processes, dir, address, target, plugin string) ([]subject, error) {
	s, err := newSite(o.root, dir, address)
	if err != nil {
		return nil, err
	}
	if options, ok := s.conf["coprocess_options"].(document); ok {
		options["coprocess_grpc_server"] = "tcp://" + plugin
	}
	if err := s.api("plain", target, nil); err != nil {
		return nil, err
	}
	subjects := []subject{{name: subjectPlain, url: s.url("plain/")}}
	for _, h := range hookedAPIs() {
		if err := s.bundle(ctx, o.root, h.id, h.driver, h.middleware); err != nil {
			return nil, err
		}
		changes := document{"custom_middleware_bundle": h.id + ".zip"}
		for name, value := range h.changes {
			changes[name] = value
		}
		if err := s.api(h.id, target, changes); err != nil {
			return nil, err
		}
		subjects = append(subjects, subject{name: h.name, url: s.url(h.id + "/"), token: h.token})
	}
	return startServing(ctx, s, servers, subjects)
}

func redisGateway(ctx context.Context, o options, servers *processes, dir, address, target, keeper string) ([]subject, error) {
	s, err := newSite(o.root, dir, address)
	if err != nil {
		return nil, err
	}
	s.conf["storage"] = document{"type": "redis", "host": "127.0.0.1", "port": portOf(keeper)}
	var subjects []subject
	for _, one := range []struct{ id, name, hook string }{
		{"pre", subjectRedisPre, "AddHeader"},
		{"data", subjectRedisData, "StoreAndGet"},
	} {
		if err := s.bundle(ctx, o.root, one.id, "python", document{"pre": []document{hook(one.hook)}}); err != nil {
			return nil, err
		}
		if err := s.api(one.id, target, document{"custom_middleware_bundle": one.id + ".zip"}); err != nil {
			return nil, err
		}
		subjects = append(subjects, subject{name: one.name, url: s.url(one.id + "/"), redis: keeper})
	}
	return startServing(ctx, s, servers, subjects)
}

// startServing starts the gateway of s, which serves subjects.
func startServing(ctx context.Context, s *site, servers *processes, subjects []subject) ([]subject, error) {
	process, err := s.start(ctx, servers)
	for i := range subjects {
		subjects[i].process = process
	}
	return subjects, err
}
