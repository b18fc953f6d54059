/** Something can't be done for now, whoever asks and whatever for: they have to come again. */
export class Unavailable extends Error {}
