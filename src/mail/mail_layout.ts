/** Writes a mail as text and as HTML from one content. */

/** The content of a mail. Each text is plain, and escaped in HTML. */
export interface MailContent {
  readonly subject: string;
  readonly paragraphs: readonly string[];
  /** The link that the mail is about. */
  readonly action?: { readonly text: string; readonly href: string } | undefined;
  /** Paragraphs after the link. */
  readonly closing?: readonly string[];
}

export interface WrittenMail {
  readonly subject: string;
  readonly text: string;
  readonly html: string;
}

const STYLES = {
  body: 'margin:0;padding:24px;font-family:system-ui,-apple-system,Segoe UI,Roboto,sans-serif;font-size:16px;line-height:1.5',
  column: 'max-width:34em;margin:0 auto',
  button:
    'display:inline-block;padding:12px 20px;border-radius:8px;background:#1d4ed8;color:#ffffff;font-weight:600;text-decoration:none',
  aside: 'font-size:14px;color:#57606a;word-break:break-all',
  footer: 'margin-top:32px;font-size:14px;color:#57606a',
};

/** `host` is the service that the mail comes from. */
export function writeMail({ subject, paragraphs, action, closing = [] }: MailContent, host: string): WrittenMail {
  const footer = `This mail was sent by ${host}. Replies to it are not read.`;
  const text = [
    ...paragraphs,
    ...(action ? [`${action.text}:\n${action.href}`] : []),
    ...closing,
    `-- \n${footer}`,
  ].join('\n\n');
  const html = [
    '<!doctype html>',
    `<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>${escape(subject)}</title></head>`,
    `<body style="${STYLES.body}"><div style="${STYLES.column}">`,
    ...paragraphs.map(paragraph),
    ...(action ? button(action) : []),
    ...closing.map(paragraph),
    `<p style="${STYLES.footer}">${escape(footer)}</p>`,
    '</div></body></html>',
  ].join('\n');
  return { subject, text: `${text}\n`, html };
}

function paragraph(text: string): string {
  return `<p>${escape(text)}</p>`;
}

/** The address follows as text, for mail programs that show no links. */
function button({ text, href }: NonNullable<MailContent['action']>): string[] {
  const address = escape(href);
  return [
    `<p><a href="${address}" style="${STYLES.button}">${escape(text)}</a></p>`,
    `<p style="${STYLES.aside}">${address}</p>`,
  ];
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);
}
