import json
import os

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth import RemoteAuthProvider
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token
from step_up import StepUp

with open("oauth-protected-resource.json") as file:
    metadata = json.load(file)
resource, issuer = metadata["resource"], metadata["authorization_servers"][0]
metadata_url = resource.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")


class Verifier(JWTVerifier):
    async def verify_token(self, token):
        access_token = await super().verify_token(token)
        is_bound_to_key = access_token is not None and "cnf" in access_token.claims
        return None if is_bound_to_key else access_token


verifier = Verifier(jwks_uri=f"{issuer}/jwks", issuer=issuer, audience=resource, algorithm="ES256")
auth = RemoteAuthProvider(
    token_verifier=verifier,
    authorization_servers=[issuer],  # a plain string: AnyHttpUrl(issuer) ends with a slash, which clients refuse
    base_url=resource.removesuffix("/mcp"),
    # here and not at the verifier, which would answer 401 instead of 403
    required_scopes=["tools:read"],
    challenge_scopes=["tools:read"],
    scopes_supported=metadata["scopes_supported"],
)
server = FastMCP("example", auth=auth)


@server.tool
def whoami() -> str:
    """Says who asks"""
    return get_access_token().claims["sub"]


@server.tool
def write() -> str:
    """Changes something"""
    return "written"


app = StepUp(server.http_app(), verifier, {"write": ["tools:write"]}, metadata_url)
uvicorn.run(app, port=int(os.environ.get("PORT", 8000)))
