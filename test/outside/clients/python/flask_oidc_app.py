"""A web application that logs people in with Flask-OIDC, and shows what it keeps of a login in its session."""

import os
import secrets
from urllib.parse import urlsplit

from flask import Flask, session
from flask_oidc import OpenIDConnect

ORIGIN = os.environ["ORIGIN"]

app = Flask(__name__)
app.secret_key = secrets.token_bytes(32)
app.config["OIDC_CLIENT_SECRETS"] = {
    "web": {
        "client_id": os.environ["CLIENT_ID"],
        "client_secret": os.environ["CLIENT_SECRET"],
        "issuer": os.environ["ISSUER"],
    }
}
app.config["OIDC_SCOPES"] = os.environ["SCOPE"]
oidc = OpenIDConnect(app)


@app.get("/")
@oidc.require_login
def show():
    token = session["oidc_auth_token"]
    return [report(token, session["oidc_auth_profile"])]


@app.get("/userinfo")
@oidc.require_login
def userinfo():
    """Asks anew; Flask-OIDC has refreshed the token before this if it was near its end."""
    token = session["oidc_auth_token"]
    return [report(token, oidc.oauth.oidc.userinfo(token=token))]


def report(token, userinfo):
    return {
        "access_token": token["access_token"],
        "scope": token["scope"],
        "id_token": token.get("userinfo"),
        "userinfo": userinfo,
    }


app.run(host=urlsplit(ORIGIN).hostname, port=urlsplit(ORIGIN).port)
