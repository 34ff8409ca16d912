package event

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Names of the events that the gateway fires itself (contract section 8). Plugins
// fire any other name with tyk.trigger_event.
const (
	AuthFailure       = "AuthFailure"
	KeyExpired        = "KeyExpired"
	QuotaExceeded     = "QuotaExceeded"
	RatelimitExceeded = "RatelimitExceeded"
	TriggerExceeded   = "TriggerExceeded"
	BreakerTripped    = "BreakerTripped"
	BreakerReset      = "BreakerReset"
)

// Event is one thing that happened.
type Event struct {
	// Name is one of the constants, or what a plugin chose.
	Name string
	// APIID and OrgID name the API it happened at.
	APIID, OrgID string
	// RequestID is the id of the HTTP request, "" when there is none.
	RequestID string
	// MetaData goes to the handlers as JSON, and into the log. It must not hold
	// tokens, and must not be changed after [Bus.Fire].
	MetaData any
	// Time is when it happened; Fire sets it when it is zero.
	Time time.Time
}

// Handler does something about events. It must be safe for concurrent use, and
// return when ctx ends.
type Handler interface {
	Handle(ctx context.Context, e Event) error
}

// Handlers lists the handlers of one API by the event's name. It must not be
// changed once a [Bus] has it.
type Handlers map[string][]Handler

// payload is the event as plugins and webhooks get it.
type payload struct {
	Message     message `json:"message"`
	HandlerName string  `json:"handler_name"`
	Spec        spec    `json:"spec"`
}

type message struct {
	Event     string
	MetaData  any
	TimeStamp string // RFC 3339 with fractions of a second, UTC
}

type spec struct {
	APIID, OrgID string
}

// Payload returns e as the JSON document that the handler named handlerName gets:
//
//	{"message": {"Event", "MetaData", "TimeStamp"}, "handler_name", "spec": {"APIID", "OrgID"}}
//
// TimeStamp is RFC 3339 in UTC.
func (e Event) Payload(handlerName string) ([]byte, error) {
	data, err := json.Marshal(payload{
		Message:     message{e.Name, e.MetaData, e.Time.UTC().Format(time.RFC3339Nano)},
		HandlerName: handlerName,
		Spec:        spec{e.APIID, e.OrgID},
	})
	if err != nil {
		return nil, fmt.Errorf("encode event %q: %w", e.Name, err)
	}
	return data, nil
}
