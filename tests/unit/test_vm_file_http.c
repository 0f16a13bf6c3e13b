// SPDX-License-Identifier: Apache-2.0
// Http ports in a VM file: settings, what is refused, and what their program gets of them.
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend_launch.h"
#include "http_settings.h"
#include "port_abi.h"
#include "vm_file_support.h"

#define HTTP(settings)      VM("\"ports\":[{\"kind\":\"http\",\"settings\":{" settings "}}]")
#define WITH(settings)      HTTP("\"allow\":[]," settings)
#define RULE(members)       HTTP("\"allow\":[{" members "}]")
#define INJECT(members)     WITH("\"secrets\":{\"k\":{\"file\":\"f\"}},\"inject\":[{" members "}]")
#define VALUE(origin, text) "\"origin\":\"" origin "\",\"header\":\"X\",\"value\":\"" text "\""

static struct vm_description parsed(const char *text)
{
    struct vm_description vm = {0};
    struct error err = {0};
    cr_assert_eq(parse(text, &vm, &err), 0, "%s", err.text);
    cr_assert_eq(vm.settings[0].length, sizeof(struct http_settings));
    return vm;
}

Test(vm_file_http, defaults)
{
    struct vm_description vm = parsed(HTTP("\"allow\":[{\"origin\":\"https://api.test\"}]"));
    const struct http_settings *http = vm.settings[0].bytes;
    const struct http_grant *grant = &http->grant;
    cr_expect_eq(vm.ports[0].kind, PORT_KIND_HTTP);
    cr_expect_eq(vm.ports[0].process, 1);
    cr_expect_eq(vm.ports[0].operations,
                 1u << HTTP_FETCH | 1u << HTTP_OPEN | 1u << HTTP_READ | 1u << HTTP_CLOSE);
    cr_expect_eq(vm.ports[0].timeout_ms, 65000);
    cr_expect_str_eq(grant->format, HTTP_GRANT_FORMAT);
    cr_expect_eq(grant->rule_count, 1);
    cr_expect_str_eq(grant->rules[0].origin.host, "api.test");
    cr_expect_eq(grant->rules[0].origin.port, 443);
    cr_expect_eq(grant->rules[0].any_label, 0);
    cr_expect_eq(grant->rules[0].methods, 1u << HTTP_METHOD_GET | 1u << HTTP_METHOD_HEAD);
    cr_expect_str_eq(grant->rules[0].path, "");
    cr_expect_eq(grant->network_count + grant->nameserver_count + grant->name_count +
                     grant->secret_count + grant->has_certificate + grant->proxy.version,
                 0);
    cr_expect_eq(grant->connect_ms, 10000);
    cr_expect_eq(grant->request_ms, 60000);
    cr_expect_eq(grant->stream_ms, 600000);
    cr_expect_eq(grant->idle_ms, 30000);
    cr_expect_str_eq(grant->identity_oid, "2.25.233451672903425191231656163176940724868");
    cr_expect_str_eq(http->authorities, "/etc/ssl/certs/ca-certificates.crt");
    cr_expect_not(http->has_nameservers);
    vm_description_free(&vm);
}

// With "inject" in front of the secrets that it names.
static const char everything[] = VM(
    "\"ports\":[{\"kind\":\"http\",\"timeout_ms\":9000,\"operations\":[\"fetch\"],\"settings\":{"
    "\"inject\":[{\"origin\":\"https://api.test\",\"header\":\"Authorization\","
    "\"value\":\"Bearer secret:key\"},"
    "{\"origin\":\"https://b.test:8\",\"header\":\"Cookie\",\"value\":\"k=secret:other; Path=/\"}],"
    "\"secrets\":{\"key\":{\"file\":\"/k\"},\"other\":{\"credential\":\"cred\"}},"
    "\"allow\":[{\"origin\":\"http://*.test:81\",\"methods\":[\"PUT\",\"GET\"],"
    "\"path\":\"/a|/b\"},{\"origin\":\"http://[::1]\"}],"
    "\"networks\":[\"10.0.0.0/8\",\"::1\"],\"nameservers\":[\"10.0.0.1\",\"[::1]:54\"],"
    "\"names\":{\"a.test\":[\"10.0.0.2\",\"::1\"]},\"ca\":\"/ca\",\"certificate\":\"/crt\","
    "\"key\":\"/key\",\"identity_oid\":\"1.2.3\",\"proxy\":\"http://10.0.0.3:3128\","
    "\"connect_ms\":1,\"request_ms\":2,\"stream_ms\":3,\"idle_ms\":1000}}]");

Test(vm_file_http, all_settings)
{
    struct vm_description vm = parsed(everything);
    const struct http_settings *http = vm.settings[0].bytes;
    const struct http_grant *grant = &http->grant;
    cr_expect_eq(vm.ports[0].operations, 1u << HTTP_FETCH);
    cr_expect_eq(vm.ports[0].timeout_ms, 9000);
    cr_assert_eq(grant->rule_count, 2);
    cr_expect_eq(grant->rules[0].any_label, 1);
    cr_expect_str_eq(grant->rules[0].origin.host, "test");
    cr_expect_eq(grant->rules[0].methods, 1u << HTTP_METHOD_GET | 1u << HTTP_METHOD_PUT);
    cr_expect_str_eq(grant->rules[0].path, "\\A(?:/a|/b)\\z");
    cr_expect_str_eq(grant->rules[1].origin.host, "::1");
    cr_expect_eq(grant->network_count, 2);
    cr_expect_eq(grant->networks[0].bits, 8);
    cr_expect_eq(grant->networks[1].bits, 128);
    cr_expect(http->has_nameservers);
    cr_expect_eq(grant->nameserver_count, 2);
    cr_expect_eq(grant->nameservers[1].port, 54);
    cr_assert_eq(grant->name_count, 1);
    cr_expect_str_eq(grant->names[0].host, "a.test");
    cr_expect_eq(grant->names[0].address_count, 2);
    cr_expect_str_eq(http->authorities, "/ca");
    cr_expect_str_eq(http->certificate, "/crt");
    cr_expect_str_eq(http->key, "/key");
    cr_expect_eq(grant->has_certificate, 1);
    cr_expect_str_eq(grant->identity_oid, "1.2.3");
    cr_expect_eq(grant->proxy.version, 4);
    cr_expect_eq(grant->proxy.port, 3128);
    cr_expect_eq(grant->connect_ms, 1);
    cr_expect_eq(grant->request_ms, 2);
    cr_expect_eq(grant->stream_ms, 3);
    cr_expect_eq(grant->idle_ms, 1000);
    vm_description_free(&vm);
}

// The secrets themselves are not read with the file: it says where they belong.
Test(vm_file_http, secrets_by_name)
{
    struct vm_description vm = parsed(everything);
    const struct http_settings *http = vm.settings[0].bytes;
    const struct http_grant *grant = &http->grant;
    cr_assert_eq(grant->secret_count, 2);
    cr_expect_str_eq(grant->secrets[0].value, "Bearer ");
    cr_expect_eq(grant->secrets[0].secret_at, 7);
    cr_expect_eq(grant->secrets[0].secret_length, 0);
    cr_expect_str_eq(grant->secrets[1].value, "k=; Path=/");
    cr_expect_eq(grant->secrets[1].secret_at, 2);
    cr_expect_eq(grant->secrets[1].origin.port, 8);
    cr_assert_eq(http->source_count, 2);
    const struct http_secret_source *first = &http->sources[http->source_of[0]];
    const struct http_secret_source *second = &http->sources[http->source_of[1]];
    cr_expect_str_eq(first->name, "key");
    cr_expect_str_eq(first->place, "/k");
    cr_expect_not(first->is_credential);
    cr_expect_str_eq(second->name, "other");
    cr_expect_str_eq(second->place, "cred");
    cr_expect(second->is_credential);
    vm_description_free(&vm);
}

Test(vm_file_http, refusals)
{
    static const struct refusal refusals[] = {
        {VM("\"ports\":[{\"kind\":\"http\"}]"), "t.json:2:10: /ports/0: a http needs settings"},
        {HTTP(""), "t.json:2:36: /ports/0/settings: missing key 'allow'"},
        {HTTP("\"allow\":{}"),
         "t.json:2:45: /ports/0/settings/allow: an array is expected, found an object"},
        {WITH("\"follow\":true"),
         "t.json:2:48: /ports/0/settings/follow: unknown key, did you mean 'allow'? (known: allow, "
         "networks, nameservers, names, ca, certificate, key, identity_oid, proxy, secrets, "
         "inject, connect_ms, request_ms, stream_ms, idle_ms)"},
        {RULE("\"methods\":[\"GET\"]"),
         "t.json:2:46: /ports/0/settings/allow/0: missing key 'origin'"},
        {RULE("\"origin\":\"api.test\""),
         "t.json:2:56: /ports/0/settings/allow/0/origin: \"api.test\": an origin is "
         "http://HOST[:PORT] or https://HOST[:PORT]"},
        {RULE("\"origin\":\"https://api.test/\""),
         "t.json:2:56: /ports/0/settings/allow/0/origin: \"https://api.test/\": the host is a name "
         "in lower case or an address, nothing behind it"},
        {RULE("\"origin\":\"https://API.test\""),
         "t.json:2:56: /ports/0/settings/allow/0/origin: \"https://API.test\": the host is a name "
         "in lower case or an address, nothing behind it"},
        {RULE("\"origin\":\"https://api.test:0\""),
         "t.json:2:56: /ports/0/settings/allow/0/origin: \"https://api.test:0\": the port is a "
         "number from 1 to 65535, nothing behind it"},
        {RULE("\"origin\":\"https://a.test\",\"methods\":[\"get\"]"),
         "t.json:2:84: /ports/0/settings/allow/0/methods/0: 'get' is not one of: GET, HEAD, POST, "
         "PUT, PATCH, DELETE, OPTIONS"},
        {RULE("\"origin\":\"https://a.test\",\"path\":\"/(\""),
         "t.json:2:80: /ports/0/settings/allow/0/path: pattern: missing closing parenthesis at "
         "character 3"},
        {RULE("\"origin\":\"https://a.test\",\"path\":\"/a)|(?:.*\""),
         "t.json:2:80: /ports/0/settings/allow/0/path: pattern: unmatched closing parenthesis at "
         "character 3"},
        {WITH("\"networks\":[\"10.0.0.1/8\"]"),
         "t.json:2:60: /ports/0/settings/networks/0: ADDRESS/BITS is expected, with no bit set "
         "behind these"},
        {WITH("\"nameservers\":[\"ns.test\"]"),
         "t.json:2:63: /ports/0/settings/nameservers/0: ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT is "
         "expected"},
        {WITH("\"names\":{\"A.test\":[\"10.0.0.1\"]}"),
         "t.json:2:57: /ports/0/settings/names/A.test: at most 32 names, in lower case, are "
         "expected"},
        {WITH("\"names\":{\"10.0.0.2\":[\"10.0.0.1\"]}"),
         "t.json:2:57: /ports/0/settings/names/10.0.0.2: at most 32 names, in lower case, are "
         "expected"},
        {WITH("\"names\":{\"a.test\":[]}"),
         "t.json:2:66: /ports/0/settings/names/a.test: an address is expected"},
        {WITH("\"names\":{\"a.test\":[\"10.0.0.1:80\"]}"),
         "t.json:2:67: /ports/0/settings/names/a.test/0: an address is expected"},
        {WITH("\"names\":{\"a.test\":[\"::1\",\"::2\",\"::3\",\"::4\",\"::5\"]}"),
         "t.json:2:66: /ports/0/settings/names/a.test: 5 elements, at most 4 are possible"},
        {WITH("\"ca\":\"\""), "t.json:2:53: /ports/0/settings/ca: the path is empty"},
        {WITH("\"certificate\":\"c\""),
         "t.json:2:36: /ports/0/settings: a certificate needs its key"},
        {WITH("\"key\":\"c\""), "t.json:2:36: /ports/0/settings: a certificate needs its key"},
        {WITH("\"identity_oid\":\"guillotine\""),
         "t.json:2:63: /ports/0/settings/identity_oid: numbers with dots are expected"},
        {WITH("\"identity_oid\":\"\""),
         "t.json:2:63: /ports/0/settings/identity_oid: numbers with dots are expected"},
        {WITH("\"proxy\":\"https://10.0.0.1:3128\""),
         "t.json:2:56: /ports/0/settings/proxy: http://ADDRESS:PORT is expected"},
        {WITH("\"proxy\":\"http://10.0.0.1\""),
         "t.json:2:56: /ports/0/settings/proxy: http://ADDRESS:PORT is expected"},
        {WITH("\"proxy\":\"http://proxy.test:3128\""),
         "t.json:2:56: /ports/0/settings/proxy: http://ADDRESS:PORT is expected"},
        {WITH("\"secrets\":{\"K\":{\"file\":\"f\"}}"),
         "t.json:2:63: /ports/0/settings/secrets/K: 'K' is not a name: 1 to 63 of a-z, 0-9 and "
         "'-', not starting with '-'"},
        {WITH("\"secrets\":{\"k\":{}}"),
         "t.json:2:63: /ports/0/settings/secrets/k: either \"file\" or \"credential\" is expected"},
        {WITH("\"secrets\":{\"k\":{\"file\":\"f\",\"credential\":\"c\"}}"),
         "t.json:2:63: /ports/0/settings/secrets/k: either \"file\" or \"credential\" is expected"},
        {WITH("\"secrets\":{\"k\":{\"value\":\"12345678\"}}"),
         "t.json:2:64: /ports/0/settings/secrets/k/value: unknown key (known: file, credential)"},
        {INJECT("\"origin\":\"https://a.test\",\"header\":\"X\""),
         "t.json:2:87: /ports/0/settings/inject/0: missing key 'value'"},
        {INJECT(VALUE("http://a.test", "secret:k")),
         "t.json:2:97: /ports/0/settings/inject/0/origin: a secret goes over https only: others "
         "could read it"},
        {INJECT(VALUE("https://*.a.test", "secret:k")),
         "t.json:2:97: /ports/0/settings/inject/0/origin: \"https://*.a.test\": the host is a name "
         "in lower case or an address, nothing behind it"},
        {INJECT(VALUE("https://a.test", "12345678")),
         "t.json:2:135: /ports/0/settings/inject/0/value: one secret:NAME is expected, such as "
         "\"Bearer secret:NAME\""},
        {INJECT(VALUE("https://a.test", "secret:k secret:k")),
         "t.json:2:135: /ports/0/settings/inject/0/value: one secret:NAME is expected, such as "
         "\"Bearer secret:NAME\""},
        {INJECT(VALUE("https://a.test", "secret:other")),
         "t.json:2:87: /ports/0/settings/inject/0: no secret of this name is in \"secrets\""},
        {INJECT(VALUE("https://a.test", "secret:k2")),
         "t.json:2:87: /ports/0/settings/inject/0: no secret of this name is in \"secrets\""},
        {INJECT(VALUE("https://a.test", "secret:k\\n")),
         "t.json:2:135: /ports/0/settings/inject/0/value: printable ASCII is expected"},
        {INJECT("\"origin\":\"https://a.test\",\"header\":\"X Y\",\"value\":\"secret:k\""),
         "t.json:2:123: /ports/0/settings/inject/0/header: the name of a header is expected"},
        {INJECT("\"origin\":\"https://a.test\",\"header\":\"\",\"value\":\"secret:k\""),
         "t.json:2:123: /ports/0/settings/inject/0/header: the name of a header is expected"},
        {INJECT(VALUE("https://a.test", "secret:k") "},{" VALUE("https://a.test:443",
                                                                "Bearer secret:k")),
         "t.json:2:147: /ports/0/settings/inject/1: this header has a secret already"},
        {WITH("\"connect_ms\":0"),
         "t.json:2:61: /ports/0/settings/connect_ms: 0 is outside 1 to 600000"},
        {WITH("\"idle_ms\":999"),
         "t.json:2:58: /ports/0/settings/idle_ms: 999 is outside 1000 to 600000"},
        {WITH("\"request_ms\":65000"),
         "t.json:2:36: /ports/0/settings: \"request_ms\" (65000) and \"idle_ms\" (30000) have to "
         "be less than the port's \"timeout_ms\" (65000)"},
        {VM("\"ports\":[{\"kind\":\"http\",\"timeout_ms\":30000,\"settings\":{\"allow\":[]}}]"),
         "t.json:2:55: /ports/0/settings: \"request_ms\" (60000) and \"idle_ms\" (30000) have to "
         "be less than the port's \"timeout_ms\" (30000)"},
        {VM("\"ports\":[{\"kind\":\"http\",\"process\":false,\"settings\":{\"allow\":[]}}]"),
         "t.json:2:35: /ports/0/process: the backend of a http is always a process of its own"},
    };
    check_refusals(refusals, COUNT(refusals));
}

#define FOLDER "/tmp/test_vm_file_http.XXXXXX"

// Files of one test, in a folder of its own.
struct files {
    char folder[sizeof(FOLDER)];
    char secret[sizeof(FOLDER) + 8];
    char authorities[sizeof(FOLDER) + 8];
};

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(chmod(path, mode), 0);
}

static void make_files(struct files *files, const char *secret, mode_t mode)
{
    memcpy(files->folder, FOLDER, sizeof(FOLDER));
    cr_assert_not_null(mkdtemp(files->folder));
    snprintf(files->secret, sizeof(files->secret), "%s/secret", files->folder);
    snprintf(files->authorities, sizeof(files->authorities), "%s/ca", files->folder);
    write_file(files->secret, secret, mode);
    write_file(files->authorities, "x", 0644);
}

static void remove_files(const struct files *files)
{
    unlink(files->secret);
    unlink(files->authorities);
    rmdir(files->folder);
}

// What the program would be started with; *launch is to be freed by end_launch.
static int prepare(const struct files *files, bool credential, struct backend_launch *launch,
                   struct error *err)
{
    char text[2048];
    snprintf(text, sizeof(text),
             WITH("\"nameservers\":[],\"ca\":\"%s\",\"secrets\":{\"k\":{\"%s\":\"%s\"}},"
                  "\"inject\":[{\"origin\":\"https://a.test\",\"header\":\"X\",\"value\":"
                  "\"k=secret:k; v\"}]"),
             files->authorities, credential ? "credential" : "file",
             credential ? "secret" : files->secret);
    struct vm_description vm = parsed(text);
    *launch = (struct backend_launch){
        .settings = vm.settings[0].bytes,
        .length = vm.settings[0].length,
    };
    int result = backend_http_prepare(launch, err);
    vm_description_free(&vm);
    return result;
}

static void end_launch(struct backend_launch *launch)
{
    for (unsigned i = 0; i < launch->fd_count; i++)
        close(launch->fds[i]);
    free(launch->made);
}

static void expect_secret(const struct files *files, bool credential, const char *wanted)
{
    struct backend_launch launch;
    struct error err = {0};
    cr_assert_eq(prepare(files, credential, &launch, &err), 0, "%s", err.text);
    const struct http_grant *grant = launch.settings;
    cr_assert_eq(launch.length, sizeof(*grant));
    cr_expect_eq(launch.made, launch.settings);
    cr_expect_eq(launch.fd_count, 1);
    cr_expect_eq(memcmp(grant->secrets[0].value, "k=", 2), 0);
    cr_expect_eq(grant->secrets[0].secret_at, 2);
    cr_expect_eq(grant->secrets[0].secret_length, strlen(wanted));
    cr_expect_eq(memcmp(grant->secrets[0].value + 2, wanted, strlen(wanted)), 0);
    cr_expect_str_eq(grant->secrets[0].value + 2 + strlen(wanted), "; v");
    end_launch(&launch);
}

Test(vm_file_http, a_secret_gets_to_its_header)
{
    struct files files;
    char longest[HTTP_SECRET_BYTES_MAX + 2];
    make_files(&files, "12345678\n", 0600);
    expect_secret(&files, false, "12345678");
    setenv("CREDENTIALS_DIRECTORY", files.folder, 1);
    expect_secret(&files, true, "12345678");
    write_file(files.secret, "no end of line", 0400);
    expect_secret(&files, false, "no end of line");
    memset(longest, 'a', sizeof(longest));
    longest[HTTP_SECRET_BYTES_MAX] = '\n';
    longest[HTTP_SECRET_BYTES_MAX + 1] = '\0';
    chmod(files.secret, 0600);
    write_file(files.secret, longest, 0600);
    longest[HTTP_SECRET_BYTES_MAX] = '\0';
    expect_secret(&files, false, longest);
    remove_files(&files);
}

static void expect_no_secret(const char *secret, mode_t mode, bool credential, const char *why)
{
    struct backend_launch launch;
    struct files files;
    struct error err = {0};
    make_files(&files, secret, mode);
    cr_expect_eq(prepare(&files, credential, &launch, &err), -1, "%s", why);
    cr_expect(strstr(err.text, why), "%s", err.text);
    cr_expect(!*secret || !strstr(err.text, secret), "%s", err.text);
    end_launch(&launch);
    remove_files(&files);
}

Test(vm_file_http, secrets_that_are_not_taken)
{
    char too_long[HTTP_SECRET_BYTES_MAX + 2];
    memset(too_long, 'a', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    unsetenv("CREDENTIALS_DIRECTORY");
    expect_no_secret("", 0600, false, "line 1 is empty");
    expect_no_secret("1234567", 0600, false, "at least 8 characters");
    expect_no_secret(too_long, 0600, false, "at most 1024 printable");
    expect_no_secret("12345678\n12345678\n", 0600, false, "1 lines");
    expect_no_secret("1234\t5678", 0600, false, "printable ASCII");
    expect_no_secret("1234\r\n56", 0600, false, "printable ASCII");
    expect_no_secret("12345678", 0644, false, "only this user can read");
    expect_no_secret("12345678", 0640, false, "only this user can read");
    expect_no_secret("12345678", 0600, true, "CREDENTIALS_DIRECTORY is not set");
    setenv("CREDENTIALS_DIRECTORY", "/nonexistent", 1);
    expect_no_secret("12345678", 0600, true, "/nonexistent/secret");
}
