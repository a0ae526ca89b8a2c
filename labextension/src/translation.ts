/** The part of a translation bundle that we use. */
export interface ITranslate {
  __(msgid: string, ...args: any[]): string;
  _n(msgid: string, plural: string, n: number, ...args: any[]): string;
}
