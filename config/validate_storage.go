package config

import "fmt"

func (v *validator) storage(s *Storage) {
	const key = "storage."
	switch s.Type {
	case "", StorageMemory:
		return
	case StorageRedis:
	default:
		v.add(key+"type", fmt.Sprintf("%q is not known", s.Type), "use redis, or memory to keep everything in this process")
		return
	}
	v.redisAddresses(s)
	notNegative(v, key+"database", s.Database)
	v.seconds(key+"timeout", int64(s.Timeout))
	notNegative(v, key+"optimisation_max_active", s.MaxActive)
	notNegative(v, key+"optimisation_max_idle", s.MaxIdle)
	if s.EnableCluster && s.MasterName != "" {
		v.add(key+"master_name", "is for Sentinel, but enable_cluster is true", "remove one of the two")
	}
	if s.EnableCluster && s.Database != 0 {
		v.add(key+"database", fmt.Sprint(s.Database, " cannot be chosen, Redis Cluster has database 0 only"), "remove it")
	}
	if !s.UseSSL {
		for _, file := range []struct{ name, path string }{{"ca_file", s.CAFile}, {"cert_file", s.CertFile}, {"key_file", s.KeyFile}} {
			if file.path != "" {
				v.add(key+file.name, "is without effect, use_ssl is false", "set use_ssl to true or remove it")
			}
		}
		return
	}
	if s.CAFile != "" {
		v.certificateAuthority(key+"ca_file", s.CAFile)
	}
	if s.CertFile != "" || s.KeyFile != "" {
		v.keyPair(key, s.CertFile, s.KeyFile)
	}
}

func (v *validator) redisAddresses(s *Storage) {
	const key = "storage."
	switch {
	case len(s.Addrs) > 0:
		for i, address := range s.Addrs {
			if !isHostPort(address) {
				v.add(fmt.Sprintf("%saddrs[%d]", key, i), "is not an address", "write host:port")
			}
		}
	case len(s.Hosts) > 0:
		for _, address := range joinHosts(s.Hosts) {
			if !isHostPort(address) {
				v.add(key+"hosts", address+" is not an address", "write host names with their ports, or use addrs")
			}
		}
	default:
		v.port(key+"port", s.Port, "write the port of Redis; 6379 is the default")
		if !isHost(s.Host) {
			v.add(key+"host", "is not a host name", "write a name or IP address without port")
		}
	}
}
