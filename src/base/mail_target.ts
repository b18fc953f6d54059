/** Where mails go: to an SMTP server, into a folder for another program, or to the developer. */
export type MailTarget = { readonly from: string } & (
  | { readonly kind: 'smtp'; readonly url: string }
  | { readonly kind: 'folder'; readonly folder: string }
  /** The terminal and a page show them. The page reads them from the folder. */
  | { readonly kind: 'development'; readonly folder: string }
);
