package gateway

import (
	"context"

	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/store"
)

// storeCheck asks the store. Redis keeps the reference's name for it.
func storeCheck(c *config.Config, s store.Store) Check {
	name := "storage"
	if c.Storage.Type == config.StorageRedis {
		name = "redis"
	}
	return Check{
		Name: name, ComponentType: componentDatastore,
		Func: func(ctx context.Context) (string, error) { return "", s.Ping(ctx) },
	}
}
