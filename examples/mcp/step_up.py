import json

from starlette.requests import Request
from starlette.responses import Response


class StepUp:
    """Answers a call of a tool with 403 until the token has the scopes of the tool (RFC 6750, 3.1)."""

    def __init__(self, app, verifier, scopes_of_tools, metadata_url):
        self.app, self.verifier = app, verifier
        self.scopes_of_tools, self.metadata_url = scopes_of_tools, metadata_url

    async def __call__(self, scope, receive, send):
        token = await self.verify(Request(scope)) if scope["type"] == "http" else None
        if token is None:  # the server below answers 401
            return await self.app(scope, receive, send)
        body = await Request(scope, receive).body()
        needed = self.needed(body)
        if not needed <= set(token.scopes):
            challenge = f'Bearer error="insufficient_scope", scope="{" ".join(sorted(needed))}"'
            headers = {"WWW-Authenticate": f'{challenge}, resource_metadata="{self.metadata_url}"'}
            return await Response(status_code=403, headers=headers)(scope, receive, send)
        messages = [{"type": "http.request", "body": body}]

        async def receive_again():
            return messages.pop() if messages else await receive()

        await self.app(scope, receive_again, send)

    async def verify(self, request):
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return await self.verifier.verify_token(token) if scheme.lower() == "bearer" else None

    def needed(self, body):
        try:
            messages = json.loads(body)
        except ValueError:
            return set()
        messages = messages if isinstance(messages, list) else [messages]
        calls = [m for m in messages if isinstance(m, dict) and m.get("method") == "tools/call"]
        names = [str((call.get("params") or {}).get("name")) for call in calls]
        return {scope for name in names for scope in self.scopes_of_tools.get(name, [])}
