package provider

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/function"
)

var (
	_ function.Function = postgresURL{}
	_ function.Function = redisURL{}
)

type postgresURL struct{}

func newPostgresURL() function.Function { return postgresURL{} }

func (postgresURL) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "postgres_url"
}

func (postgresURL) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "URL of a PostgreSQL database",
		MarkdownDescription: "Builds a `postgresql://` URL in which every part is escaped, so that any password survives. " +
			"A sensitive or ephemeral argument makes the result so too.",
		Parameters: []function.Parameter{
			function.StringParameter{Name: "user", MarkdownDescription: "User."},
			function.StringParameter{Name: "password", MarkdownDescription: "Password; may be empty."},
			function.StringParameter{Name: "host", MarkdownDescription: "Host: a name, such as an accessory's container name, or an address. IPv6 with or without brackets."},
			function.Int64Parameter{Name: "port", MarkdownDescription: "Port, as in `5432`."},
			function.StringParameter{Name: "database", MarkdownDescription: "Database."},
		},
		Return: function.StringReturn{},
	}
}

func (postgresURL) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var user, password, host, database string
	var port int64
	if resp.Error = req.Arguments.Get(ctx, &user, &password, &host, &port, &database); resp.Error != nil {
		return
	}
	at, err := hostPort(host, port, 2)
	if err != nil {
		resp.Error = err
		return
	}
	if user == "" {
		resp.Error = function.NewArgumentFuncError(0, "the user is empty")
		return
	}
	resp.Error = resp.Result.Set(ctx, "postgresql://"+userInfo(user, password)+at+"/"+escape(database))
}

type redisURL struct{}

func newRedisURL() function.Function { return redisURL{} }

func (redisURL) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "redis_url"
}

func (redisURL) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "URL of a Redis database",
		MarkdownDescription: "Builds a `redis://` URL in which every part is escaped, so that any password survives. " +
			"A sensitive or ephemeral argument makes the result so too.",
		Parameters: []function.Parameter{
			function.StringParameter{Name: "password", MarkdownDescription: "Password; may be empty."},
			function.StringParameter{Name: "host", MarkdownDescription: "Host: a name, such as an accessory's container name, or an address. IPv6 with or without brackets."},
			function.Int64Parameter{Name: "port", MarkdownDescription: "Port, as in `6379`."},
			function.Int64Parameter{Name: "database", MarkdownDescription: "Number of the database, as in `0`."},
		},
		Return: function.StringReturn{},
	}
}

func (redisURL) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var password, host string
	var port, database int64
	if resp.Error = req.Arguments.Get(ctx, &password, &host, &port, &database); resp.Error != nil {
		return
	}
	at, err := hostPort(host, port, 1)
	if err != nil {
		resp.Error = err
		return
	}
	if database < 0 {
		resp.Error = function.NewArgumentFuncError(3, "the number of the database is negative")
		return
	}
	resp.Error = resp.Result.Set(ctx, "redis://"+userInfo("", password)+at+"/"+strconv.FormatInt(database, 10))
}

// userInfo is what stands before the host, "" where there is neither user nor password.
func userInfo(user, password string) string {
	switch {
	case password != "":
		return escape(user) + ":" + escape(password) + "@"
	case user != "":
		return escape(user) + "@"
	}
	return ""
}

// hostPort checks host and port; the host is the function's argument number arg, the port comes behind it.
func hostPort(host string, port int64, arg int64) (string, *function.FuncError) {
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if bare == "" || strings.ContainsAny(bare, "/@ ?#") || strings.Contains(bare, ":") && net.ParseIP(bare) == nil {
		return "", function.NewArgumentFuncError(arg, fmt.Sprintf("%q is no host name or address", host))
	}
	if port < 1 || port > 65535 {
		return "", function.NewArgumentFuncError(arg+1, fmt.Sprintf("%d is no port", port))
	}
	return net.JoinHostPort(bare, strconv.FormatInt(port, 10)), nil
}

// escape escapes everything that isn't unreserved in RFC 3986: what is left
// means itself in every parser.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
