/** A temporary failure that does not depend on the request; the caller should try again later. */
export class Unavailable extends Error {}
