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
import { Person, type Arrival } from '../support/person/person.ts';

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
        assert.match(page, /Log in/);
        assert.match(page, /Living-room TV/);
      }
    });

    it('gets the same answer when it is unknown, used, refused or expired', async () => {
      const [used, refused, expired] = [
        await requestDevice(gatehouse, tv),
        await requestDevice(gatehouse, tv),
        await requestDevice(gatehouse, tv),
      ];
      await connectDevice(gatehouse, used.user_code);
      await connectDevice(gatehouse, refused.user_code, new Person(gatehouse, { decision: 'deny' }));
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

    it('that one browser has entered can’t be taken by another, not even while the first still logs in (CVE-2026-45337)', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const [owner, thief] = [new Person(gatehouse), new Person(gatehouse)];
      // the thief has the page open before the owner enters the code
      const shownToThief = await thief.open(`${gatehouse.issuer}/device`);
      const login = await enterCode(gatehouse, owner, user_code);
      assert.match(login.page, /Log in/);
      for (const decision of [{}, { abort: 'yes' }]) {
        const { page, response } = await thief.submit(`${gatehouse.issuer}/device`, {
          ...fieldsOf(shownToThief.page),
          user_code,
          ...decision,
        });
        assert.equal(response.status, 400);
        assert.match(page, /No device waits with this code|The page was out of date/);
      }
      assert.match((await enterCode(gatehouse, new Person(gatehouse), user_code)).page, UNKNOWN_CODE);
      assert.match((await owner.finish(login)).page, CONNECTED);
      assert.equal((await poll(gatehouse, tv, device_code)).status, 200);
    });

    it('can be entered again by the browser that entered it and then closed the window', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const person = new Person(gatehouse);
      const abandoned = await enterCode(gatehouse, person, user_code);
      const cookies = new Map(person.cookies);
      assert.match((await connectDevice(gatehouse, user_code, person)).page, CONNECTED);
      // and what was left open comes too late
      for (const [name, cookie] of cookies) if (!name.includes('session')) person.cookies.set(name, cookie);
      const late = await person.finish(abandoned);
      assert.doesNotMatch(late.page, CONNECTED);
      assert.equal((await poll(gatehouse, tv, device_code)).status, 200);
    });

    it('is not there for a login of an application that comes back at the address of a device', async () => {
      const person = new Person(gatehouse);
      await person.open(`${gatehouse.issuer}/account/login`);
      // a browser sends these cookies to no other address than that of the login
      const cookie = [...person.cookies].map(([name, { value }]) => `${name}=${value}`).join('; ');
      const answer = await fetch(`${gatehouse.issuer}/device/other`, { headers: { cookie, accept: 'text/html' } });
      const page = await answer.text();
      assert.equal(answer.status, 400, page);
      assert.match(page, /<h1>/);
      assert.deepEqual(
        answer.headers.getSetCookie().filter((one) => one.startsWith('gatehouse_session=')),
        [],
      );
    });

    it('that expires while its person logs in is over', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const person = new Person(gatehouse);
      const login = await enterCode(gatehouse, person, user_code);
      moveClock(601);
      const { page, response } = await person.finish(login);
      assert.equal(response.status, 400);
      assert.match(page, /This code can’t be used any more/);
      assert.equal((await poll(gatehouse, tv, device_code)).error, 'expired_token');
    });
  });

  describe('a decision', () => {
    let answer: DeviceAnswer;
    let person: Person;
    let shown: Arrival;
    before(async () => {
      answer = await requestDevice(gatehouse, tv, { scope: 'openid notes:read' });
      person = new Person(gatehouse);
      await person.walk(`${gatehouse.issuer}/account/login`);
      shown = await enterCode(gatehouse, person, answer.user_code);
    });

    it('is made on one page that says who asks for what, with which code, and when to deny', () => {
      assert.match(shown.page, /Allow Living-room TV\?/);
      assert.equal(shown.page.includes(answer.user_code), true);
      assert.match(shown.page, /Know who you are/);
      assert.match(shown.page, /Read your notes/);
      assert.match(shown.page, /Allow it only if you started this yourself/);
    });

    it('is asked for each device, also of an application that the person allowed before', async () => {
      const owner = new Person(gatehouse);
      for (let device = 0; device < 2; device++) {
        const { device_code, user_code } = await requestDevice(gatehouse, tv);
        await owner.walk(`${gatehouse.issuer}/account/login`);
        const { page, url } = await enterCode(gatehouse, owner, user_code);
        assert.match(page, /Allow Living-room TV\?/);
        assert.equal((await poll(gatehouse, tv, device_code)).error, 'authorization_pending');
        assert.match((await owner.submit(`${url}/consent`, { decision: 'allow' })).page, CONNECTED);
      }
    });

    it('is not taken from another browser', async () => {
      const other = new Person(gatehouse);
      await other.walk(`${gatehouse.issuer}/account/login`);
      const { response } = await other.submit(`${shown.url}/consent`, { decision: 'allow' });
      assert.equal(response.status, 400);
      assert.equal((await poll(gatehouse, tv, answer.device_code)).error, 'authorization_pending');
    });

    it('is not taken from another site', async () => {
      for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }]) {
        const body = new URLSearchParams({ decision: 'allow' });
        const refused = await person.fetch(`${shown.url}/consent`, { method: 'POST', headers, body });
        assert.equal(refused.status, 403);
        assert.match(await refused.text(), /sent from another site/);
      }
    });
  });

  describe('a code that is entered', () => {
    it('is not taken without the page’s proof, without a session, or from another site', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const person = new Person(gatehouse);
      const { page } = await person.open(`${gatehouse.issuer}/device`);
      const fields = { ...fieldsOf(page), user_code };
      const nobody = await new Person(gatehouse).submit(`${gatehouse.issuer}/device`, fields);
      assert.match(nobody.page, /The page was out of date/);
      for (const forged of [
        { ...fields, xsrf: '' },
        { ...fields, xsrf: 'guessed' },
      ]) {
        const asking = new Person(gatehouse);
        for (const [name, cookie] of person.cookies) asking.cookies.set(name, cookie);
        assert.equal((await asking.submit(`${gatehouse.issuer}/device`, forged)).response.status, 400);
      }
      const foreign = await person.fetch(`${gatehouse.issuer}/device`, {
        method: 'POST',
        headers: { origin: 'https://evil.example' },
        body: new URLSearchParams(fields),
      });
      assert.equal(foreign.status, 403);
      assert.equal((await poll(gatehouse, tv, device_code)).error, 'authorization_pending');
    });

    it('is not denied before the login, and asks for the page again without its confirmation', async () => {
      const { device_code, user_code } = await requestDevice(gatehouse, tv);
      const person = new Person(gatehouse);
      for (const [more, drop] of [
        [{ abort: 'yes' }, ''],
        [{}, 'confirm'],
      ] as const) {
        const { page } = await person.open(`${gatehouse.issuer}/device`);
        const fields = Object.entries({ ...fieldsOf(page), user_code, ...more }).filter(([name]) => name !== drop);
        const { page: again } = await person.submit(`${gatehouse.issuer}/device`, Object.fromEntries(fields));
        assert.match(again, /The page was out of date, so nothing was done\. Enter the code again\./);
      }
      assert.equal((await poll(gatehouse, tv, device_code)).error, 'authorization_pending');
    });
  });
});
