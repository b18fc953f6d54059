/**
 * Names of authentication contexts (`acr`). `phr` is a name of OpenID Connect Extended Authentication Profile ACR
 * Values 1.0; the others are our own (OpenID Connect Core, 2).
 */
export const PASSWORD_ACR = 'urn:gatehouse:acr:password';
export const MFA_ACR = 'urn:gatehouse:acr:mfa';
export const PHISHING_RESISTANT_ACR = 'phr';

/** The contexts that an admin can require of each login. */
export const REQUIRABLE_ACRS = [MFA_ACR, PHISHING_RESISTANT_ACR] as const;
export type RequirableAcr = (typeof REQUIRABLE_ACRS)[number];
export const ONE_OF_REQUIRABLE_ACRS = `must be ${REQUIRABLE_ACRS.join(' or ')}`;
