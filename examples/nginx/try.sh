#!/usr/bin/env bash
# Starts nginx in front of a small API and sends a valid token, an invalid one and a revoked one.
# Needs nginx with njs, curl, node, and a Gatehouse started by `npm start` in this checkout.
set -euo pipefail
cd "$(dirname "$0")"
bootstrap=${1:-../../.gatehouse/bootstrap.json}
field() { node -p "JSON.parse(fs.readFileSync('$bootstrap')).$1"; }
issuer=$(field issuer)
demo="$(field demo.client_id):$(field demo.client_secret)"

work=$(mktemp -d)
# started as root, nginx works as the user nobody, who has to read these
chmod 755 "$work"
mkdir -m 777 "$work/cache" "$work/temp"
cp introspect.js "$work"
sed -e "s#INTROSPECTION_CREDENTIALS#$(printf %s "$demo" | base64 -w0)#" -e "s#http://127.0.0.1:3000#$issuer#" \
  -e "s#modules/ngx_http_js_module.so#${NJS_MODULE:-/usr/lib/nginx/modules/ngx_http_js_module.so}#" nginx.conf >"$work/nginx.conf"
node -e 'require("http").createServer((q, r) => r.end(`hello ${q.headers["x-client-id"]}, you may ${q.headers["x-scope"]}\n`)).listen(8089, "127.0.0.1")' &
api=$!
nginx -p "$work" -c "$work/nginx.conf" &
gateway=$!
trap 'kill $api $gateway; wait; rm -rf "$work"' EXIT
sleep 1

token=$(curl -s "$issuer/token" -u "$demo" -d grant_type=client_credentials -d scope=notes:read | node -p 'JSON.parse(fs.readFileSync(0)).access_token')
ask() { printf '%s: ' "$1"; curl -s -o "$work/answer" -w '%{http_code} ' http://127.0.0.1:8088/notes -H "$2"; grep -a hello "$work/answer" || echo; }
ask 'good token' "Authorization: Bearer $token"
ask 'no token' 'X-Nothing: here'
ask 'bad token' 'Authorization: Bearer nonsense'
ask 'headers of an impostor' 'X-Client-Id: gatehouse-admin'
curl -s "$issuer/revoke" -u "$demo" -d token="$token"
sleep 11
ask 'revoked token, ten seconds later' "Authorization: Bearer $token"
