// @vitest-environment jsdom
import { ServerConnection } from '@jupyterlab/services';
import { beforeEach, describe, expect, it } from 'vitest';

import { Refusal, Requests } from './requests';

let asked: { url: string; method: string; body: string }[];
let answer: () => Response;
let requests: Requests;

beforeEach(() => {
  asked = [];
  answer = () => Response.json({ fine: true });
  const settings = ServerConnection.makeSettings({
    baseUrl: 'http://hub/user/alice/',
    fetch: async (input: RequestInfo | URL) => {
      const request = input as Request;
      asked.push({ url: request.url, method: request.method, body: await request.text() });
      return answer();
    }
  });
  requests = new Requests(settings);
});

const path = () => decodeURIComponent(asked[0].url.replace('http://hub/user/alice/', '').replace(/[?&]\d+$/, ''));

describe('Requests', () => {
  it('asks under the server\'s own address', async () => {
    expect(await requests.server()).toEqual({ fine: true });
    expect(path()).toBe('hubmeter/v1/server');
    expect(asked[0].method).toBe('GET');
  });

  it('asks for the part of history that is drawn', async () => {
    await requests.history({ from: '-6h', step: '1m' });
    expect(path()).toBe('hubmeter/v1/history?from=-6h&step=1m&fields=memory_used_bytes,memory_limit_bytes,cpu_cores');
  });

  it('asks how long each sample speaks where there is no step to say so', async () => {
    await requests.history({ from: '-10m' });
    expect(path()).toBe('hubmeter/v1/history?from=-10m&fields=memory_used_bytes,memory_limit_bytes,cpu_cores,interval_ms');
  });

  it('sends no body where there is none, and takes "taken" for an answer', async () => {
    answer = () => new Response(null, { status: 304 });
    await requests.input();
    await requests.shown('e/1');
    expect(asked.map(one => [one.method, one.body])).toEqual([
      ['POST', ''],
      ['POST', '']
    ]);
    expect(asked[1].url).toContain('hubmeter/v1/shown/e%2F1');
  });

  it('says until when a server is to be kept', async () => {
    await requests.hold(new Date('2027-01-15T08:00:00Z'));
    expect(asked[0]).toMatchObject({ method: 'PUT', body: '{"until":"2027-01-15T08:00:00.000Z"}' });
    await requests.release();
    expect(asked[1].method).toBe('DELETE');
  });

  it('tells of a refusal in the words of whoever refused', async () => {
    const refused = async (body: string, status = 422) => {
      answer = () => new Response(body, { status, statusText: 'Unprocessable' });
      return requests.hold(new Date(0)).then(
        () => null,
        (reason: Refusal) => [reason.status, reason.message]
      );
    };
    expect(await refused('{"title":"Past policy","detail":"at most 8 hours"}')).toEqual([422, 'at most 8 hours']);
    expect(await refused('{"message":"no"}', 503)).toEqual([503, 'no']);
    expect(await refused('<html>', 502)).toEqual([502, '502 Unprocessable']);
    expect((await refused(JSON.stringify({ detail: 'x'.repeat(9999) })))![1]).toHaveLength(300);
  });
});
