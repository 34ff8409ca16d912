package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/krait-gateway/krait/jsonfile"
	"github.com/krait-gateway/krait/session"
)

// maxFileSize is far above any real file, in bytes.
const maxFileSize = 16 << 20

// document is one policy of the file.
type document struct {
	ID               string                         `json:"id"`
	Name             string                         `json:"name"`
	OrgID            string                         `json:"org_id"`
	Rate             float64                        `json:"rate"`
	Per              float64                        `json:"per"`
	QuotaMax         int64                          `json:"quota_max"`
	QuotaRenewalRate int64                          `json:"quota_renewal_rate"`
	AccessRights     map[string]session.AccessRight `json:"access_rights"`
	Active           *bool                          `json:"active"`
	IsInactive       bool                           `json:"is_inactive"`
	KeyExpiresIn     int64                          `json:"key_expires_in"`
	Tags             []string                       `json:"tags"`
	MetaData         map[string]any                 `json:"meta_data"`
	Partitions       struct {
		Quota      bool `json:"quota"`
		RateLimit  bool `json:"rate_limit"`
		ACL        bool `json:"acl"`
		Complexity bool `json:"complexity"`
		PerAPI     bool `json:"per_api"`
	} `json:"partitions"`
}

// Load reads the policies in the file at path (policies.policy_record_name).
// set is never nil: it refuses what err is about, the policies with faults or
// all of them, and has the others. warnings names what the file asks for in
// vain, a line each. err is a [*jsonfile.Error] with every fault.
func Load(path string) (set *Set, warnings []string, err error) {
	data, err := readFile(path)
	if err != nil {
		err = jsonfile.NewError([]jsonfile.Fault{{
			File: path, Problem: "cannot be read: " + err.Error(), Next: "make it a file this process may read, or correct policies.policy_record_name",
		}})
		return &Set{broken: err}, nil, err
	}
	return Parse(path, data)
}

// readFile reads a file of sane size. Opening a pipe would wait for its other
// end.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case err == nil && info.Size() > maxFileSize:
		return nil, fmt.Errorf("is larger than %d MiB", maxFileSize>>20)
	case err == nil:
		var data []byte
		if data, err = os.ReadFile(path); err == nil {
			return data, nil
		}
	}
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, at.Err
	}
	return nil, err
}

// Parse is [Load] for data, which came from the file called name.
func Parse(name string, data []byte) (set *Set, warnings []string, err error) {
	tree, err := jsonfile.Parse(name, data)
	if tree == nil {
		return &Set{broken: err}, nil, err
	}
	// What is left are members that are there twice.
	twice := jsonfile.Faults(name, err)
	set = &Set{policies: make(map[string]*Policy), refused: make(map[string]error)}
	all := slices.Clone(twice)
	for _, id := range slices.Sorted(maps.Keys(tree)) {
		p, warned, faults := parsePolicy(name, id, tree[id])
		warnings = append(warnings, warned...)
		all = append(all, faults...)
		for _, fault := range twice {
			if concerns(fault, id) {
				faults = append(faults, fault)
			}
		}
		if err := jsonfile.NewError(faults); err != nil {
			set.refused[id] = err
		} else {
			set.policies[id] = p
		}
	}
	return set, warnings, jsonfile.NewError(all)
}

// concerns says whether fault is about the policy id.
func concerns(fault jsonfile.Fault, id string) bool {
	rest, ok := strings.CutPrefix(fault.Field, id)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func parsePolicy(name, id string, value any) (p *Policy, warnings []string, faults []jsonfile.Fault) {
	tree, ok := value.(map[string]any)
	if !ok {
		return nil, nil, []jsonfile.Fault{{File: name, Field: id, Problem: "is no policy", Next: "write an object"}}
	}
	var d document
	unknown, err := jsonfile.Bind(name, tree, &d)
	faults = jsonfile.Faults(name, err)
	faults = append(faults, session.CheckProtections(name, tree)...)
	faults = append(faults, session.CheckRights(name, tree)...)
	if d.Partitions.PerAPI {
		faults = append(faults, jsonfile.Fault{
			File: name, Field: "partitions.per_api", Problem: "is not supported by this version of krait, which would leave out its limits",
			Next: "make a policy for each API, and name all of them in apply_policies",
		})
	}
	if id == "" {
		faults = append(faults, jsonfile.Fault{File: name, Problem: "has a policy without an id", Next: "name it"})
	}
	for i, fault := range faults {
		faults[i].Field = strings.TrimSuffix(id+"."+fault.Field, ".")
	}
	return d.policy(id), warn(name, id, &d, tree, unknown), faults
}

// warn lists what the policy asks for in vain.
func warn(name, id string, d *document, tree map[string]any, unknown []string) []string {
	var warnings []string
	add := func(field, text string) { warnings = append(warnings, name+": "+id+"."+field+": "+text) }
	if d.ID != "" && d.ID != id {
		add("id", fmt.Sprintf("is %q, but the policy's name in the file counts", d.ID))
	}
	for _, field := range unknown {
		top, _, _ := strings.Cut(strings.ToLower(field), ".")
		if session.Protects(top) {
			continue // a fault, if it asks for anything
		}
		switch top {
		case "_id", "last_updated", "date_created", "access_rights":
			continue
		}
		if value, found := jsonfile.Unbound(tree, field); !found || session.Asks(value) {
			add(field, "is not known or not supported, and without effect")
		}
	}
	return warnings
}

func (d *document) policy(id string) *Policy {
	all := !d.Partitions.Quota && !d.Partitions.RateLimit && !d.Partitions.ACL && !d.Partitions.Complexity
	return &Policy{
		ID: id, OrgID: d.OrgID, Rate: d.Rate, Per: d.Per, QuotaMax: d.QuotaMax, QuotaRenewalRate: d.QuotaRenewalRate,
		AccessRights: session.Rights(d.AccessRights), Inactive: d.IsInactive || d.Active != nil && !*d.Active,
		Tags: d.Tags, Metadata: session.Metadata(d.MetaData),
		KeyExpiresIn: time.Duration(min(max(d.KeyExpiresIn, 0), math.MaxInt64/int64(time.Second))) * time.Second,
		setsRights:   all || d.Partitions.ACL, setsRate: all || d.Partitions.RateLimit, setsQuota: all || d.Partitions.Quota,
	}
}
