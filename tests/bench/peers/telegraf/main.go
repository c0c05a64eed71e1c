// A Telegraf with nothing in it but what this comparison needs: its agent, the input that reads
// a kubelet, and an output that drops what comes.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/influxdata/telegraf/agent"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"
	_ "github.com/influxdata/telegraf/plugins/inputs/kubernetes"
	_ "github.com/influxdata/telegraf/plugins/outputs/discard"
)

func run(file string) error {
	settings := config.NewConfig()
	if err := settings.LoadAll(file); err != nil {
		return err
	}
	logging := logger.Config{Debug: settings.Agent.Debug, Quiet: settings.Agent.Quiet}
	if err := logger.SetupLogging(&logging); err != nil {
		return err
	}
	until, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return agent.NewAgent(settings).Run(until)
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: telegraf FILE")
	}
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}
