import asyncio
import json
import os

import jwt
import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from step_up import StepUp

with open("oauth-protected-resource.json") as file:
    metadata = json.load(file)
resource, issuer = metadata["resource"], metadata["authorization_servers"][0]
metadata_url = resource.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")


class Verifier:
    keys = jwt.PyJWKClient(f"{issuer}/jwks")

    def verify(self, token):
        key = self.keys.get_signing_key_from_jwt(token)
        decoded = jwt.decode_complete(token, key, ["ES256"], audience=resource, issuer=issuer)
        if decoded["header"].get("typ") != "at+jwt" or "cnf" in decoded["payload"]:
            raise jwt.InvalidTokenError("not an access token, or bound to a key")
        return decoded["payload"]

    async def verify_token(self, token):
        try:
            claims = await asyncio.to_thread(self.verify, token)
        except jwt.PyJWKClientConnectionError:
            raise  # without the keys this is no fault of the token: 500, not 401
        except jwt.PyJWTError:
            return None
        client_id, scopes, subject = claims["client_id"], claims.get("scope", "").split(), claims["sub"]
        return AccessToken(
            token=token, client_id=client_id, scopes=scopes, subject=subject, expires_at=claims["exp"], resource=resource
        )


# plain strings: AnyHttpUrl(issuer) ends with a slash, and clients then refuse the server
auth = AuthSettings(
    issuer_url=issuer, resource_server_url=resource, required_scopes=["tools:read"], validate_token_resource=True
)
server = MCPServer("example", auth=auth, token_verifier=Verifier())


@server.tool()
def whoami() -> str:
    """Says who asks"""
    return get_access_token().subject


@server.tool()
def write() -> str:
    """Changes something"""
    return "written"


app = StepUp(server.streamable_http_app(), Verifier(), {"write": ["tools:write"]}, metadata_url)
uvicorn.run(app, port=int(os.environ.get("PORT", 8000)))
