package jsonfile

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
)

// Decode binds the JSON object in data to the struct that into points to, by
// its json tags. Members without a field are returned as dotted paths, sorted.
// name stands for the file in messages.
//
// The error is an [*Error] with every fault; into then holds what could be
// decoded, and unknown may miss members beside a faulty one.
func Decode(name string, data []byte, into any) (unknown []string, err error) {
	object, err := Parse(name, data)
	if object == nil {
		return nil, err
	}
	unknown, bindErr := Bind(name, object, into)
	return unknown, NewError(append(Faults(name, err), Faults(name, bindErr)...))
}

// Bind is [Decode] for an object that [Parse] returned. The object is not
// changed, but values of fields of type any share memory with it.
func Bind(name string, object map[string]any, into any) (unknown []string, err error) {
	var metadata mapstructure.Metadata
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result:     into,
		TagName:    "json",
		Metadata:   &metadata,
		DecodeHook: strict,
	})
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", name, err)
	}
	var faults []Fault
	collect(name, decoder.Decode(object), &faults)
	slices.SortFunc(faults, func(a, b Fault) int { return strings.Compare(a.Field, b.Field) })

	for _, path := range metadata.Unused {
		unknown = append(unknown, dotted(path))
	}
	slices.Sort(unknown)
	return unknown, NewError(faults)
}

// typeError is a value of the wrong type; its place is added by mapstructure.
type typeError struct{ problem, next string }

func (e *typeError) Error() string { return e.problem }

// strict is the decode hook: it refuses every conversion that would change or
// guess a value, and turns numbers into the kind of the field.
func strict(from, to reflect.Value) (any, error) {
	value := from.Interface()
	target := to.Type()
	for target.Kind() == reflect.Pointer {
		target = target.Elem()
	}
	if text, ok := value.(string); ok {
		if decoded, ok, err := unmarshalText(text, target); ok {
			return decoded, err
		}
	}
	switch target.Kind() {
	case reflect.Interface:
		return value, nil
	case reflect.String:
		// json.Number is a string to the reflect package, but not to us.
		if _, ok := value.(string); ok || target == reflect.TypeFor[json.Number]() {
			return value, nil
		}
		return nil, wrong("text in double quotes", value, `write "..."`)
	case reflect.Bool:
		if _, ok := value.(bool); ok {
			return value, nil
		}
		return nil, wrong("true or false", value, "write true or false without quotes")
	case reflect.Slice, reflect.Array:
		if _, ok := value.([]any); ok {
			return value, nil
		}
		return nil, wrong("a list", value, "write [ ... ]")
	case reflect.Map, reflect.Struct:
		if object, ok := value.(map[string]any); ok {
			return value, ambiguous(object, target)
		}
		return nil, wrong("an object", value, "write { ... }")
	default:
		return number(value, target)
	}
}

// ambiguous refuses members of a struct that differ in letter case only:
// which of them counted would be left to chance.
func ambiguous(object map[string]any, target reflect.Type) error {
	if target.Kind() != reflect.Struct {
		return nil
	}
	folded := make(map[string]bool, len(object))
	for key := range object {
		key = strings.ToLower(key)
		if folded[key] {
			return &typeError{"has the member " + strconv.Quote(key) + " twice, in different letter case", "remove one of the two"}
		}
		folded[key] = true
	}
	return nil
}

func unmarshalText(text string, target reflect.Type) (any, bool, error) {
	decoded := reflect.New(target)
	unmarshaler, ok := decoded.Interface().(encoding.TextUnmarshaler)
	if !ok {
		return nil, false, nil
	}
	if err := unmarshaler.UnmarshalText([]byte(text)); err != nil {
		return nil, true, &typeError{problem: err.Error()}
	}
	return decoded.Elem().Interface(), true, nil
}

func number(value any, target reflect.Type) (any, error) {
	digits, ok := value.(json.Number)
	if _, isText := reflect.New(target).Interface().(encoding.TextUnmarshaler); isText {
		return nil, wrong("text in double quotes", value, `write "..."`)
	}
	if !ok {
		return nil, wrong("a number", value, "write digits without quotes")
	}
	zero := reflect.Zero(target)
	text := digits.String()
	switch {
	case zero.CanInt():
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || zero.OverflowInt(n) {
			return nil, misfit(text, "", target)
		}
		return n, nil
	case zero.CanUint():
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || zero.OverflowUint(n) {
			return nil, misfit(text, "not negative", target)
		}
		return n, nil
	case zero.CanFloat():
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || zero.OverflowFloat(n) {
			return nil, &typeError{problem: text + " is too large"}
		}
		return n, nil
	default:
		return nil, fmt.Errorf("a field of type %s cannot be read from JSON", target)
	}
}

// misfit says why text, which is a valid JSON number, is no integer of type
// target.
func misfit(text, sign string, target reflect.Type) error {
	switch {
	case strings.ContainsAny(text, ".eE"):
		return &typeError{text + " is not a whole number", "write it without fraction and exponent"}
	case sign != "" && strings.HasPrefix(text, "-"):
		return &typeError{text + " is negative", "write 0 or more"}
	default:
		return &typeError{fmt.Sprintf("%s does not fit into %d bits", text, target.Bits()), "write a smaller number"}
	}
}

func wrong(want string, value any, next string) error {
	return &typeError{"must be " + want + ", but is " + describe(value), next}
}

// collect turns the tree of errors that mapstructure returns into faults.
func collect(name string, err error, faults *[]Fault) {
	switch e := err.(type) { //nolint:errorlint // the tree is walked node by node
	case nil:
	case *mapstructure.DecodeError:
		fault := Fault{File: name, Field: dotted(e.Name()), Problem: e.Unwrap().Error()}
		var mismatch *typeError
		if errors.As(e, &mismatch) {
			fault.Problem, fault.Next = mismatch.problem, mismatch.next
		}
		*faults = append(*faults, fault)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			collect(name, inner, faults)
		}
	case interface{ Unwrap() error }:
		collect(name, e.Unwrap(), faults)
	default:
		*faults = append(*faults, Fault{File: name, Problem: err.Error()})
	}
}

// dotted turns mapstructure's a[key].b[0] into a.key.b[0].
func dotted(path string) string {
	return mapKey.ReplaceAllString(path, ".$1")
}

var mapKey = regexp.MustCompile(`\[([^\[\]]*[^\[\]0-9][^\[\]]*)\]`)
