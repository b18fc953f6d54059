"""A web application that logs people in with requests-oauthlib. It answers the callback with what it got."""

import os
from urllib.parse import urlsplit

import requests
from flask import Flask, redirect, request
from requests_oauthlib import OAuth2Session

ORIGIN = os.environ["ORIGIN"]
CLIENT_ID = os.environ["CLIENT_ID"]
CLIENT_SECRET = os.environ["CLIENT_SECRET"]
# the servers of the test speak http on a loopback address
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

server = requests.get(os.environ["ISSUER"] + "/.well-known/openid-configuration").json()
# one login at a time is enough for a test
oauth = OAuth2Session(CLIENT_ID, scope=os.environ["SCOPE"], redirect_uri=ORIGIN + "/callback", pkce="S256")
app = Flask(__name__)


@app.get("/")
def start():
    url, _state = oauth.authorization_url(server["authorization_endpoint"])
    return redirect(url)


@app.get("/callback")
def callback():
    try:
        first = oauth.fetch_token(
            server["token_endpoint"], authorization_response=request.url, client_secret=CLIENT_SECRET
        )
        got = [report(first)]
        got.append(report(oauth.refresh_token(server["token_endpoint"], auth=(CLIENT_ID, CLIENT_SECRET))))
    # it warns by an exception if the scope of an answer is another one than it asked for
    except Warning as warning:
        return {"error": "scope_changed", "error_description": str(warning)}, 502
    return got


def report(token):
    answer = oauth.get(server["userinfo_endpoint"])
    answer.raise_for_status()
    return {"access_token": token["access_token"], "scope": " ".join(token["scope"]), "userinfo": answer.json()}


app.run(host=urlsplit(ORIGIN).hostname, port=urlsplit(ORIGIN).port)
