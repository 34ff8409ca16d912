// Command krait is an API gateway that runs Python middleware, and the tools
// around it: building bundles and finding out what is wrong.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the linker (make build).
var version = "development"

// gatewayName is how kong calls commandLine.Gateway.
const gatewayName = "gateway"

// commandLine is what krait understands.
type commandLine struct {
	Gateway gatewayCommand `cmd:"" help:"Run the gateway."`
	Bundle  bundleCommand  `cmd:"" help:"Build, verify and inspect plugin bundles."`
	Doctor  doctorCommand  `cmd:"" help:"Say which Python is used and why, and everything that is wrong with a configuration."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

func main() {
	var line commandLine
	parsed := kong.Parse(&line,
		kong.Name("krait"),
		kong.Description("An API gateway that runs Python middleware bundles."),
		kong.UsageOnError(),
	)
	ctx, stop := contextOf(parsed.Command())
	parsed.BindTo(ctx, (*context.Context)(nil))
	err := parsed.Run()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "krait:", oneLine(err))
		os.Exit(1)
	}
}

// contextOf returns the context that command runs with. Signals end it for the
// gateway only, which drains then; a second one ends the process at once. The
// other commands have nothing to drain and may wait for a terminal or a file,
// so signals end them as they end any program.
func contextOf(command string) (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = context.WithCancel(context.Background())
	if command != gatewayName {
		return ctx, stop
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals) // first: who sees the gateway drain may send the second one
		stop()
	}()
	return ctx, stop
}

// oneLine puts the faults of a joined error on one line, for logs.
func oneLine(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", " | ")
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run() error {
	_, err := fmt.Println("krait", version)
	return err
}
