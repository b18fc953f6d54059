import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import {
  CONNECTED,
  connectDevice,
  enterCode,
  fieldsOf,
  poll,
  registerDevice,
  requestDevice,
  UNKNOWN_CODE,
  type DeviceAnswer,
} from '../support/person/device_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

describe('the pages of the device flow', () => {
  let gatehouse: Gatehouse;
  let tv: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    tv = await registerDevice(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  describe('a code', () => {
    it('is taken in small letters, with spaces or without the dash', async () => {
      for (const typed of [
        (code: string) => code.toLowerCase(),
        (code: string) => code.replace('-', ''),
        (code: string) => ` ${code.replace('-', ' ')} `,
        (code: string) => code.replace('-', '–').split('').join(' '),
      ]) {
        const { user_code } = await requestDevice(gatehouse, tv);
        const { page } = await enterCode(gatehouse, new Person(gatehouse), typed(user_code));
        assert.match(page, /Connect Living-room TV\?/);
        assert.equal(page.includes(user_code), true);
      }
    });

    it('gets the same answer when it is unknown, used, refused or expired', async () => {
      const [used, refused, expired] = [
        await requestDevice(gatehouse, tv),
        await requestDevice(gatehouse, tv),
        await requestDevice(gatehouse, tv),
      ];
      await connectDevice(gatehouse, used.user_code);
      const person = new Person(gatehouse);
      const shown = await enterCode(gatehouse, person, refused.user_code);
      await person.submit(`${gatehouse.issuer}/device`, { ...fieldsOf(shown.page), abort: 'yes' });
      const answers: [number, string][] = [];
      for (const code of ['BCDFG-HJKLM', used.user_code, refused.user_code]) answers.push(await answerTo(code));
      moveClock(600);
      answers.push(await answerTo(expired.user_code));
      assert.equal(answers[0]![0], 400);
      assert.match(answers[0]![1], UNKNOWN_CODE);
      for (const answer of answers) assert.deepEqual(answer, answers[0]);
    });

    async function answerTo(code: string): Promise<[number, string]> {
      const { response, page } = await enterCode(gatehouse, new Person(gatehouse), code);
      return [response.status, page.replaceAll(code, 'CODE').replaceAll(/name="xsrf" value="\w+"/g, '')];
    }

    it('belongs to the account that confirmed it', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      await connectDevice(gatehouse, user_code);
      const { access_token } = await poll(gatehouse, tv, device_code);
      const { tokens } = await signIn(gatehouse, await registerApplication(gatehouse));
      const answer = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${access_token}` } });
      assert.equal(((await answer.json()) as { sub: string }).sub, tokens.claims()!.sub);
    });

    it('that one browser has confirmed can’t be taken by another, not even while the first still logs in (CVE-2026-45337)', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const [owner, thief] = [new Person(gatehouse), new Person(gatehouse)];
      // the thief has the page open before the owner confirms
      const shownToThief = await enterCode(gatehouse, thief, user_code);
      const shown = await enterCode(gatehouse, owner, user_code);
      const login = await owner.submit(`${gatehouse.issuer}/device`, fieldsOf(shown.page));
      assert.match(login.page, /Log in/);
      for (const decision of [{}, { abort: 'yes' }]) {
        const { page, response } = await thief.submit(`${gatehouse.issuer}/device`, {
          ...fieldsOf(shownToThief.page),
          ...decision,
        });
        assert.equal(response.status, 400);
        assert.match(page, /No device waits with this code|The page was out of date/);
      }
      assert.match((await enterCode(gatehouse, new Person(gatehouse), user_code)).page, UNKNOWN_CODE);
      assert.match((await owner.finish(login)).page, CONNECTED);
      assert.equal((await poll(gatehouse, tv, device_code)).status, 200);
    });

    it('can be entered again by the browser that confirmed it and then closed the window', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const person = new Person(gatehouse);
      const shown = await enterCode(gatehouse, person, user_code);
      const abandoned = await person.submit(`${gatehouse.issuer}/device`, fieldsOf(shown.page));
      const cookies = new Map(person.cookies);
      assert.match((await connectDevice(gatehouse, user_code, person)).page, CONNECTED);
      // and what was left open comes too late
      for (const [name, cookie] of cookies) if (!name.includes('session')) person.cookies.set(name, cookie);
      const late = await person.finish(abandoned);
      assert.doesNotMatch(late.page, CONNECTED);
      assert.equal((await poll(gatehouse, tv, device_code)).status, 200);
    });

    it('that expires while its person logs in is over', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const person = new Person(gatehouse);
      const shown = await enterCode(gatehouse, person, user_code);
      const login = await person.submit(`${gatehouse.issuer}/device`, fieldsOf(shown.page));
      moveClock(601);
      const { page, response } = await person.finish(login);
      assert.equal(response.status, 400);
      assert.match(page, /This code can’t be used any more/);
      assert.equal((await poll(gatehouse, tv, device_code)).error, 'expired_token');
    });
  });

  describe('a confirmation', () => {
    let answer: DeviceAnswer;
    let person: Person;
    let shown: string;
    before(async () => {
      answer = await requestDevice(gatehouse, tv, { scope: 'openid notes:read' });
      person = new Person(gatehouse);
      shown = (await enterCode(gatehouse, person, answer.user_code)).page;
    });

    it('says who asks for what, with which code, and when to leave it', () => {
      assert.match(shown, /Connect Living-room TV\?/);
      assert.equal(shown.includes(answer.user_code), true);
      assert.match(shown, /Know who you are/);
      assert.match(shown, new RegExp(gatehouse.demo.resource));
      assert.match(shown, /Continue only if you started this yourself/);
    });

    it('is not taken from another browser, with the first one’s form or with a form of its own', async () => {
      const other = new Person(gatehouse);
      const { page } = await other.open(`${gatehouse.issuer}/device`);
      for (const form of [fieldsOf(shown), { ...fieldsOf(shown), ...onlyXsrf(page) }]) {
        const refused = await other.submit(`${gatehouse.issuer}/device`, form);
        assert.equal(refused.response.status, 400);
        assert.match(refused.page, /The page was out of date/);
      }
    });

    it('is not taken without the page’s proof, for another code, or without a session', async () => {
      const another = await requestDevice(gatehouse, tv);
      const forms: Record<string, string>[] = [
        { ...fieldsOf(shown), xsrf: '' },
        { ...fieldsOf(shown), user_code: another.user_code },
        { ...fieldsOf(shown), confirm: 'yes' },
        { ...fieldsOf(shown), confirm: '', abort: 'yes' },
      ];
      for (const form of forms) {
        const asking = new Person(gatehouse);
        for (const [name, cookie] of person.cookies) asking.cookies.set(name, cookie);
        const refused = await asking.submit(`${gatehouse.issuer}/device`, form);
        assert.equal(refused.response.status, 400, JSON.stringify(form));
        // the page that says so has a form of its own, and the one before is worth nothing
        shown = (await enterCode(gatehouse, person, answer.user_code)).page;
      }
      const nobody = await new Person(gatehouse).submit(`${gatehouse.issuer}/device`, fieldsOf(shown));
      assert.equal(nobody.response.status, 400);
      assert.match(nobody.page, /The page was out of date/);
    });

    it('is not taken from another site', async () => {
      for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }]) {
        const body = new URLSearchParams(fieldsOf(shown));
        const refused = await person.fetch(`${gatehouse.issuer}/device`, { method: 'POST', headers, body });
        assert.equal(refused.status, 403);
        assert.match(await refused.text(), /sent from another site/);
      }
      assert.equal((await poll(gatehouse, tv, answer.device_code)).error, 'authorization_pending');
    });
  });
});

function onlyXsrf(page: string): Record<string, string> {
  return { xsrf: fieldsOf(page)['xsrf']! };
}
