"""A web application that logs people in with Authlib's client for Flask. It answers the callback with what it got."""

import os
import secrets
from urllib.parse import urlsplit

from authlib.integrations.flask_client import OAuth, OAuthError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from flask import Flask

ORIGIN = os.environ["ORIGIN"]
METHOD = os.environ.get("AUTH_METHOD", "client_secret_basic")

app = Flask(__name__)
app.secret_key = secrets.token_bytes(32)
gatehouse = OAuth(app).register(
    "gatehouse",
    client_id=os.environ["CLIENT_ID"],
    # with private_key_jwt it is the key, in PEM
    client_secret=os.environ["CLIENT_SECRET"],
    server_metadata_url=os.environ["ISSUER"] + "/.well-known/openid-configuration",
    client_kwargs={
        "scope": os.environ["SCOPE"],
        "code_challenge_method": "S256",
        "token_endpoint_auth_method": METHOD,
    },
    client_auth_methods=[PrivateKeyJWT()],
)


@app.get("/")
def start():
    return gatehouse.authorize_redirect(ORIGIN + "/callback")


@app.get("/callback")
def callback():
    try:
        token = gatehouse.authorize_access_token()
        refreshed = gatehouse.fetch_access_token(grant_type="refresh_token", refresh_token=token["refresh_token"])
    except OAuthError as error:
        return {"error": error.error, "error_description": error.description}, 502
    return [report(token, token["userinfo"]), report(refreshed, gatehouse.parse_id_token(refreshed, nonce=None))]


def report(token, id_token):
    userinfo = gatehouse.userinfo(token=token)
    return {"access_token": token["access_token"], "scope": token["scope"], "id_token": id_token, "userinfo": userinfo}


app.run(host=urlsplit(ORIGIN).hostname, port=urlsplit(ORIGIN).port)
