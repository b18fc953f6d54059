/** A mail that a transport sends as it is. */
export interface ReadyMail {
  /** The same at each attempt, so that a mail server can detect a duplicate. */
  readonly messageId: string;
  readonly from: string;
  readonly to: string;
  readonly subject: string;
  readonly text: string;
  readonly html: string;
}
