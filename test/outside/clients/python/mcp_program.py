"""Calls tools of an MCP server with Python's MCP SDK or FastMCP.

Reads the names of tools, and writes a line of JSON for each address that the person has to open and for each answer.
"""

import asyncio
import json
import os
import sys
import webbrowser
from urllib.parse import parse_qs, urlsplit

import httpx2
from fastmcp import Client as FastClient
from fastmcp.client.auth import OAuth
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

library, url = sys.argv[1:]
metadata_url = os.environ.get("CLIENT_METADATA_URL")


def say(**members):
    print(json.dumps(members), flush=True)


class Memory:
    tokens = client_info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client_info

    async def set_client_info(self, client_info):
        self.client_info = client_info


class Callback:
    """The address on this computer to which the browser returns."""

    async def listen(self):
        self.queries = asyncio.Queue()
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callback"
        return self

    async def answer(self, reader, writer):
        target = (await reader.readline()).decode().split(" ")[1]
        await self.queries.put(parse_qs(urlsplit(target).query))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def result(self):
        query = await self.queries.get()
        code, state, iss = (query.get(name, [None])[0] for name in ("code", "state", "iss"))
        return AuthorizationCodeResult(code=code, state=state, iss=iss)


async def open_browser(address):
    say(authorize=address)


async def sdk_client():
    callback = await Callback().listen()
    metadata = OAuthClientMetadata(
        client_name="MCP test client",
        redirect_uris=[callback.url],
        grant_types=["authorization_code", "refresh_token"],
        token_endpoint_auth_method="none",
    )
    provider = OAuthClientProvider(
        url, metadata, Memory(), open_browser, callback.result, client_metadata_url=metadata_url
    )
    http_client = httpx2.AsyncClient(auth=provider, timeout=60)
    return provider, Client(streamable_http_client(url, http_client=http_client))


async def fastmcp_client():
    webbrowser.open = lambda address: say(authorize=address)
    provider = OAuth(url, client_metadata_url=metadata_url)
    return provider, FastClient(url, auth=provider)


async def main():
    provider, client = await (sdk_client if library == "sdk" else fastmcp_client)()
    async with client:
        while tool := (await asyncio.to_thread(sys.stdin.readline)).strip():
            result = await client.call_tool(tool)
            context = provider.context
            say(
                answer=result.content[0].text,
                client_id=context.client_info.client_id,
                scope=context.current_tokens.scope,
            )


asyncio.run(main())
