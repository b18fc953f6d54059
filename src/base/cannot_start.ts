/** Why the process can't run, in a sentence for whoever started it. Printed as it is, without a stack. */
export class CannotStart extends Error {}
