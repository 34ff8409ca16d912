package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/telemetry"
)

const (
	// readHeaderTimeout bounds how long a client may take to send its header.
	readHeaderTimeout = 10 * time.Second
	// keepAliveTimeout ends idle client connections.
	keepAliveTimeout = 120 * time.Second
	// maxHeaderBytes bounds a request's header.
	maxHeaderBytes = 1 << 20
	// defaultDrain bounds how long Serve waits for requests when it stops.
	defaultDrain = 30 * time.Second
	// closeGrace is what is left for plugins after the drain limit.
	closeGrace = 5 * time.Second
)

// Serve accepts connections from listener until ctx ends. Then it stops
// accepting, lets requests end within the drain limit, cuts those that do not,
// and returns nil; an error means that serving failed, or that TLS is
// configured wrongly. The gateway stays loaded: call Close afterwards.
func (g *Gateway) Serve(ctx context.Context, listener net.Listener) error {
	server, err := g.newServer()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	// Requests outlive ctx: they end by themselves or at the drain limit.
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server.BaseContext = func(net.Listener) context.Context { return base }

	served := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			served <- server.ServeTLS(listener, "", "")
			return
		}
		served <- server.Serve(listener)
	}()
	g.log.Info("gateway is serving", telemetry.KeyAddress, listener.Addr().String())

	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	g.log.Info("gateway is stopping", telemetry.KeyDuration, g.drain)
	g.shutdown(server, cut)
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	}
	return nil
}

// shutdown drains server within g.drain. http.Server does not wait for
// upgraded connections (websockets); active does.
func (g *Gateway) shutdown(server *http.Server, cut context.CancelFunc) {
	limit, cancel := context.WithTimeout(context.Background(), g.drain)
	defer cancel()
	err := server.Shutdown(limit)
	if err == nil {
		err = g.active.wait(limit)
	}
	if err == nil {
		return
	}
	g.log.Warn("requests did not end in time and are cut", telemetry.KeyCount, g.active.count())
	cut()
	// Handlers see the end of their context; wait for them, but not for ever.
	grace, cancelGrace := context.WithTimeout(context.Background(), closeGrace)
	defer cancelGrace()
	closeErr := server.Close()
	if err := errors.Join(closeErr, g.active.wait(grace)); err != nil {
		g.log.Error("requests still run after the drain limit", telemetry.KeyCount, g.active.count(),
			telemetry.KeyError, err.Error())
	}
}

// newServer sets every limit that keeps slow clients from holding resources.
// There is no limit on a whole request or response unless configured, because
// it would cut streams.
func (g *Gateway) newServer() (*http.Server, error) {
	o := &g.config.HTTPServerOptions
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(o.EnableHTTP2)
	protocols.SetUnencryptedHTTP2(o.EnableHTTP2)
	server := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       seconds(o.ReadTimeout),
		WriteTimeout:      seconds(o.WriteTimeout),
		IdleTimeout:       keepAliveTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         &protocols,
		// These are faults of clients: bad handshakes, broken framing.
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	server.SetKeepAlivesEnabled(!g.config.CloseConnections)
	if o.UseSSL {
		tlsConfig, err := serverTLS(o)
		if err != nil {
			return nil, err
		}
		server.TLSConfig = tlsConfig
	}
	return server, nil
}

// serverTLS loads all certificates and reports everything wrong with them
// together.
func serverTLS(o *config.HTTPServerOptions) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	var faults []error
	version, err := tlsVersion(o.MinVersion)
	if err != nil {
		faults = append(faults, fmt.Errorf("http_server_options.%w", err))
	}
	out.MinVersion = version
	for i, c := range o.Certificates {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			faults = append(faults, fmt.Errorf("http_server_options.certificates[%d] (%s, %s): %w", i, c.CertFile, c.KeyFile, err))
			continue
		}
		out.Certificates = append(out.Certificates, pair)
	}
	if len(o.Certificates) == 0 {
		faults = append(faults, errors.New("http_server_options.certificates: use_ssl needs at least one {cert_file, key_file}"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return out, nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
