// A web application that logs people in with go-oidc and x/oauth2. It answers the callback with what it got.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

type tokens struct {
	AccessToken string         `json:"access_token"`
	Scope       any            `json:"scope"`
	IDToken     map[string]any `json:"id_token"`
	Userinfo    map[string]any `json:"userinfo"`
}

func main() {
	ctx := context.Background()
	origin := os.Getenv("ORIGIN")
	provider, err := oidc.NewProvider(ctx, os.Getenv("ISSUER"))
	if err != nil {
		log.Fatal(err)
	}
	config := oauth2.Config{
		ClientID:     os.Getenv("CLIENT_ID"),
		ClientSecret: os.Getenv("CLIENT_SECRET"),
		Endpoint:     provider.Endpoint(),
		RedirectURL:  origin + "/callback",
		Scopes:       strings.Split(os.Getenv("SCOPE"), " "),
	}
	idTokens := provider.Verifier(&oidc.Config{ClientID: config.ClientID})
	// one login at a time is enough for a test
	state, nonce, verifier := oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier()

	read := func(token *oauth2.Token) (*tokens, error) {
		raw, _ := token.Extra("id_token").(string)
		idToken, err := idTokens.Verify(ctx, raw)
		if err != nil {
			return nil, err
		}
		// after a refresh it is the same (OpenID Connect Core, 12.2)
		if idToken.Nonce != nonce {
			return nil, errors.New("another nonce: " + idToken.Nonce)
		}
		got := &tokens{AccessToken: token.AccessToken, Scope: token.Extra("scope")}
		if err := idToken.Claims(&got.IDToken); err != nil {
			return nil, err
		}
		userinfo, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			return nil, err
		}
		return got, userinfo.Claims(&got.Userinfo)
	}

	logIn := func(request *http.Request) ([]*tokens, error) {
		if request.URL.Query().Get("state") != state {
			return nil, errors.New("another state")
		}
		code := request.URL.Query().Get("code")
		token, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
		if err != nil {
			return nil, err
		}
		first, err := read(token)
		if err != nil {
			return nil, err
		}
		token, err = config.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
		if err != nil {
			return nil, err
		}
		refreshed, err := read(token)
		return []*tokens{first, refreshed}, err
	}

	http.HandleFunc("/", func(response http.ResponseWriter, request *http.Request) {
		url := config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier))
		http.Redirect(response, request, url, http.StatusFound)
	})
	http.HandleFunc("/callback", func(response http.ResponseWriter, request *http.Request) {
		got, err := logIn(request)
		if err != nil {
			http.Error(response, err.Error(), http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(response).Encode(got)
	})
	log.Fatal(http.ListenAndServe(strings.TrimPrefix(origin, "http://"), nil))
}
