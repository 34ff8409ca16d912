package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	connections = 64
	// steadyRate is the rate, in requests per second, at which latencies are
	// measured: one that all subjects manage.
	steadyRate = 500
)

var (
	wrkRate     = regexp.MustCompile(`(\d+) requests in[\s\S]*Requests/sec:\s+([0-9.]+)`)
	wrkTrouble  = regexp.MustCompile(`(Non-2xx or 3xx responses: .*|Socket errors: .*)`)
	errResponse = errors.New("not all requests were answered with 200")
)

// load is what wrk has sent.
type load struct {
	rate     float64 // requests per second
	requests int
}

// saturate measures how many requests per second url serves to 64 connections,
// each with one request at a time.
func saturate(ctx context.Context, url, token string, d time.Duration) (load, error) {
	arguments := []string{"-t1", "-c" + strconv.Itoa(connections), fmt.Sprintf("-d%ds", max(1, int(d.Seconds())))}
	if token != "" {
		arguments = append(arguments, "-H", "Authorization: "+token)
	}
	output, err := exec.CommandContext(ctx, wrkBinary, append(arguments, url)...).CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w\n%s", err, output)
	}
	if trouble := wrkTrouble.Find(output); trouble != nil {
		return load{}, fmt.Errorf("%s: %w: %s", url, errResponse, trouble)
	}
	found := wrkRate.FindSubmatch(output)
	if found == nil {
		return load{}, fmt.Errorf("wrk says nothing of a rate:\n%s", output)
	}
	requests, err := strconv.Atoi(string(found[1]))
	if err != nil {
		return load{}, err
	}
	rate, err := strconv.ParseFloat(string(found[2]), 64)
	return load{rate, requests}, err
}

// steady sends requests at steadyRate for d and returns how long each took, from
// the moment at which it was due: a server that stalls makes those late that
// would have come meanwhile, and they count as late.
func steady(ctx context.Context, url, token string, d time.Duration) ([]time.Duration, error) {
	count := int(d.Seconds() * steadyRate)
	latencies := make([]time.Duration, count)
	transport := &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	failures := make(chan error, count)
	var group sync.WaitGroup
	began := time.Now()
	for i := range count {
		due := began.Add(time.Duration(i) * time.Second / steadyRate)
		if err := sleepUntil(ctx, due); err != nil {
			return nil, err
		}
		group.Go(func() {
			if err := once(ctx, client, url, token); err != nil {
				failures <- err
			}
			latencies[i] = time.Since(due)
		})
	}
	group.Wait()
	select {
	case err := <-failures:
		return nil, err
	default:
		return latencies, nil
	}
}

// sleepUntil sleeps in the kernel: timers of Go are up to a millisecond late in a
// process that does nothing else, as long as many requests take.
func sleepUntil(ctx context.Context, due time.Time) error {
	for wait := time.Until(due); wait > 0; wait = time.Until(due) {
		pause := syscall.NsecToTimespec(wait.Nanoseconds())
		if err := syscall.Nanosleep(&pause, nil); err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
	return ctx.Err()
}

func once(ctx context.Context, client *http.Client, url, token string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", token)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %w: %s", url, errResponse, response.Status)
	}
	return nil
}
