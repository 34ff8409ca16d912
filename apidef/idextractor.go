package apidef

import (
	"fmt"
	"regexp"

	"github.com/krait-gateway/krait/idextract/xmlpath"
	"github.com/krait-gateway/krait/jsonfile"
)

// Where an ID extractor looks.
const (
	ExtractFromHeader = "header"
	ExtractFromForm   = "form"
	ExtractFromBody   = "body"
)

// What an ID extractor takes of what it finds there.
const (
	ExtractValue = "value"
	ExtractRegex = "regex"
	ExtractXPath = "xpath"
)

// maxMatchIndex bounds regex_match_index, because all matches before it have to
// be found.
const maxMatchIndex = 99

// IDExtractor finds the session id in a request, so that auth_check need not
// run for each (contract section 6).
type IDExtractor struct {
	ExtractFrom string          `json:"extract_from,omitempty"` // header, form or body
	ExtractWith string          `json:"extract_with,omitempty"` // value, regex or xpath
	Config      ExtractorConfig `json:"extractor_config,omitzero"`
	Disabled    bool            `json:"disabled,omitempty"`
}

// ExtractorConfig holds the settings of all kinds of [IDExtractor].
type ExtractorConfig struct {
	HeaderName      string `json:"header_name,omitempty"`
	ParamName       string `json:"param_name,omitempty"`
	RegexExpression string `json:"regex_expression,omitempty"`
	RegexMatchIndex int    `json:"regex_match_index,omitempty"`
	XPathExpression string `json:"xpath_expression,omitempty"`
}

// Runs says whether the extractor is configured and not disabled.
func (x IDExtractor) Runs() bool {
	return (x.ExtractFrom != "" || x.ExtractWith != "") && !x.Disabled
}

// Faults returns what is wrong with an extractor that runs. file and field say
// where it is, for the messages.
func (x IDExtractor) Faults(file, field string) []jsonfile.Fault {
	if !x.Runs() {
		return nil
	}
	var faults []jsonfile.Fault
	add := func(member, problem, next string) {
		faults = append(faults, jsonfile.Fault{File: file, Field: field + "." + member, Problem: problem, Next: next})
	}
	x.sourceFaults(add)
	switch x.ExtractWith {
	case ExtractValue:
		if x.ExtractFrom == ExtractFromBody {
			add("extract_with", "value cannot be used with the body, all callers would share one session",
				"use regex or xpath, or extract from header or form")
		}
	case ExtractRegex:
		x.Config.regexFaults(add)
	case ExtractXPath:
		if x.Config.XPathExpression == "" {
			add("extractor_config.xpath_expression", "is missing", "write the XPath expression")
		} else if _, err := xmlpath.Compile(x.Config.XPathExpression); err != nil {
			add("extractor_config.xpath_expression", "cannot be used: "+err.Error(),
				"write a path to a node, with local names, such as //user/@id")
		}
	default:
		add("extract_with", fmt.Sprintf("%q is not known", x.ExtractWith), "use value, regex or xpath")
	}
	return faults
}

func (x IDExtractor) sourceFaults(add func(member, problem, next string)) {
	switch x.ExtractFrom {
	case ExtractFromHeader:
		if x.Config.HeaderName == "" {
			add("extractor_config.header_name", "is missing", "write the name of the header that holds the id")
		}
	case ExtractFromForm:
		if x.Config.ParamName == "" {
			add("extractor_config.param_name", "is missing", "write the name of the form field that holds the id")
		}
	case ExtractFromBody:
	default:
		add("extract_from", fmt.Sprintf("%q is not known", x.ExtractFrom), "use header, form or body")
	}
}

func (c ExtractorConfig) regexFaults(add func(member, problem, next string)) {
	if c.RegexExpression == "" {
		add("extractor_config.regex_expression", "is missing", "write the regular expression")
	} else if _, err := regexp.Compile(c.RegexExpression); err != nil {
		add("extractor_config.regex_expression", "is not a regular expression: "+err.Error(),
			"correct it, the syntax is that of Go (RE2)")
	}
	if c.RegexMatchIndex < 0 || c.RegexMatchIndex > maxMatchIndex {
		add("extractor_config.regex_match_index", fmt.Sprintf("is not between 0 and %d", maxMatchIndex),
			"write 0 for the first match")
	}
}
