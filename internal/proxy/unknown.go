package proxy

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// fieldsOf are the paths of a struct's JSON fields, nested structs included:
// "options", "options.hosts".
func fieldsOf(v any) []string { return typeFields(reflect.TypeOf(v), "") }

func typeFields(t reflect.Type, prefix string) []string {
	var out []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		out = append(out, prefix+name)
		ft := t.Field(i).Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		if ft.Kind() == reflect.Struct {
			out = append(out, typeFields(ft, prefix+name+".")...)
		}
	}
	return out
}

// unknownFields are the paths of what is in raw, isn't zero and is not among
// known. Only objects that have known fields are looked into.
func unknownFields(raw json.RawMessage, known []string) ([]string, error) {
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	var out []string
	var walk func(m map[string]any, prefix string)
	walk = func(m map[string]any, prefix string) {
		for k, v := range m {
			path := prefix + k
			if !slices.Contains(known, path) {
				if !isZero(v) {
					out = append(out, path)
				}
				continue
			}
			if o, ok := v.(map[string]any); ok {
				walk(o, path+".")
			}
		}
	}
	walk(v, "")
	return out, nil
}

func isZero(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case float64:
		return v == 0
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, e := range v {
			if !isZero(e) {
				return false
			}
		}
		return true
	}
	return false
}
