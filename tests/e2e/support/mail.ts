// What the mail server got.

import { readdirSync, readFileSync } from 'node:fs';

import { access } from './access.ts';

export interface Mail {
  readonly subject: string;
  readonly to: string;
  readonly text: string;
}

export function mails(): readonly Mail[] {
  return readdirSync(access.mail)
    .filter(name => name.endsWith('.eml'))
    .sort()
    .map(name => parse(readFileSync(`${access.mail}/${name}`, 'utf8')));
}

function parse(raw: string): Mail {
  const text = raw.replaceAll('\r\n', '\n');
  const end = text.indexOf('\n\n');
  const head = text.slice(0, end).replaceAll(/\n[ \t]+/g, ' ');
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'im').exec(head)?.[1] ?? '';
  const body = text.slice(end + 2);
  return { subject: words(field('Subject')), to: field('X-Envelope-To'), text: decoded(body, field('Content-Transfer-Encoding')) };
}

function decoded(body: string, encoding: string): string {
  switch (encoding.trim().toLowerCase()) {
    case 'quoted-printable': {
      const bytes = body
        .replaceAll('=\n', '')
        .replaceAll(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
      return Buffer.from(bytes, 'latin1').toString('utf8');
    }
    case 'base64':
      return Buffer.from(body, 'base64').toString('utf8');
    default:
      return body;
  }
}

/** Encoded words of a header (RFC 2047), as far as mail programs use them for UTF-8. */
function words(field: string): string {
  return field.replaceAll(/=\?utf-8\?([bq])\?(.*?)\?=\s*/gi, (_, kind: string, text: string) =>
    kind.toLowerCase() === 'b'
      ? Buffer.from(text, 'base64').toString('utf8')
      : decoded(text.replaceAll('_', ' '), 'quoted-printable')
  );
}
