package apidef

import (
	"encoding/json"
	"strconv"
	"time"
)

// oasEventHandler is one of server.eventHandlers. Which members count depends
// on Type.
type oasEventHandler struct {
	Enabled        *bool  `json:"enabled"`
	Trigger        string `json:"trigger"`
	Type           string `json:"type"`
	ID             string `json:"id"`
	Name           string `json:"name"`
	URL            string `json:"url"`
	Method         string `json:"method"`
	CooldownPeriod string `json:"cooldownPeriod"`
	BodyTemplate   string `json:"bodyTemplate"`
	Headers        []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"headers"`
	FunctionName string `json:"functionName"`
	Path         string `json:"path"`
	LogPrefix    string `json:"logPrefix"`
}

// eventHandlers groups the handlers by the event that triggers them and gives
// them the names of the classic form.
func (c *oasConverter) eventHandlers() map[string][]EventHandler {
	var all map[string][]EventHandler
	for i, h := range c.file.Server.EventHandlers {
		field := element("server.eventHandlers", i)
		if !c.on(field, h.Enabled, h.Trigger != "" || h.Type != "") {
			continue
		}
		if h.Trigger == "" {
			c.fault(oasPrefix+field+".trigger", "is missing", "write the name of an event such as AuthFailure")
		}
		handler := EventHandler{Name: h.Type, Meta: map[string]any{}}
		switch {
		case h.Type == "":
			c.fault(oasPrefix+field+".type", "is missing", "write webhook, log or custom")
			continue
		case h.Type == "webhook":
			handler.Name = "eh_web_hook_handler"
			c.webhook(field, h, handler.Meta)
		case h.Type == "log":
			handler.Name = "eh_log_handler"
			put(handler.Meta, "prefix", h.LogPrefix)
		case h.Type == "custom" && h.Path == "":
			// Tyk runs a JavaScript file, which it cannot do without a path.
			handler.Name = handlerPlugin
			put(handler.Meta, "name", h.FunctionName)
		}
		if all == nil {
			all = make(map[string][]EventHandler)
		}
		all[h.Trigger] = append(all[h.Trigger], handler)
	}
	return all
}

func (c *oasConverter) webhook(field string, h oasEventHandler, meta map[string]any) {
	put(meta, "target_path", h.URL)
	put(meta, "method", h.Method)
	put(meta, "template_path", h.BodyTemplate)
	put(meta, "id", h.ID)
	put(meta, "name", h.Name)
	if pause := c.duration(field+".cooldownPeriod", h.CooldownPeriod); pause > 0 {
		seconds := (pause + time.Second - 1) / time.Second // a part of a second counts as one
		meta["event_timeout"] = json.Number(strconv.FormatInt(int64(seconds), 10))
	}
	if len(h.Headers) > 0 {
		headers := make(map[string]any, len(h.Headers))
		for _, header := range h.Headers {
			headers[header.Name] = header.Value
		}
		meta["header_map"] = headers
	}
}

func put(meta map[string]any, name, text string) {
	if text != "" {
		meta[name] = text
	}
}

// element is the path of an element of the list at field.
func element(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
