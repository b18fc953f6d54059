import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BadConfiguration, readConfig } from '../../src/config.ts';

const IP = '10.96.12.7';

/** What Kubernetes sets in every pod beside a Service with one port, named `http`. */
function service(prefix: string, port = 3000, ip = IP): Record<string, string> {
  const host = ip.includes(':') ? `[${ip}]` : ip;
  return {
    [`${prefix}_SERVICE_HOST`]: ip,
    [`${prefix}_SERVICE_PORT`]: `${port}`,
    [`${prefix}_SERVICE_PORT_HTTP`]: `${port}`,
    [`${prefix}_PORT`]: `tcp://${host}:${port}`,
    [`${prefix}_PORT_${port}_TCP`]: `tcp://${host}:${port}`,
    [`${prefix}_PORT_${port}_TCP_PROTO`]: 'tcp',
    [`${prefix}_PORT_${port}_TCP_PORT`]: `${port}`,
    [`${prefix}_PORT_${port}_TCP_ADDR`]: ip,
  };
}

describe('variables that a platform makes for links to services', () => {
  for (const prefix of ['GATEHOUSE', 'GATEHOUSE_ADMIN', 'GATEHOUSE_MANAGEMENT', 'GATEHOUSE_TLS', 'GATEHOUSE_WEB_2']) {
    it(`are passed by and named for a Kubernetes Service with the prefix ${prefix} (FIELD-F1)`, () => {
      const links = service(prefix);
      const { serviceLinks, ...config } = readConfig(links);
      const { serviceLinks: none, ...without } = readConfig({});
      assert.deepEqual(config, without);
      assert.deepEqual([serviceLinks.toSorted(), none], [Object.keys(links).toSorted(), []]);
    });
  }

  it('are passed by for services with IPv6 addresses and for UDP and SCTP (FIELD-F1)', () => {
    const links = {
      ...service('GATEHOUSE', 3000, 'fd00::7'),
      GATEHOUSE_DNS_PORT: `udp://${IP}:53`,
      GATEHOUSE_DNS_PORT_53_UDP: `udp://${IP}:53`,
      GATEHOUSE_DNS_PORT_53_UDP_PROTO: 'udp',
      GATEHOUSE_SS7_PORT_2905_SCTP: `sctp://${IP}:2905`,
    };
    assert.deepEqual(readConfig(links).serviceLinks.toSorted(), Object.keys(links).toSorted());
  });

  it('are passed by for a linked container of Docker, with the environment of that container (FIELD-F1)', () => {
    const links = {
      GATEHOUSE_DB_NAME: '/web/gatehouse_db',
      GATEHOUSE_DB_PORT: `tcp://${IP}:5432`,
      GATEHOUSE_DB_PORT_5432_TCP_START: `tcp://${IP}:5432`,
      GATEHOUSE_DB_PORT_5432_TCP_PORT_END: '5433',
      GATEHOUSE_DB_ENV_POSTGRES_PASSWORD: 'anything at all',
      GATEHOUSE_DB_ENV_MY_ENV_NAME: '1',
    };
    assert.deepEqual(readConfig(links).serviceLinks.toSorted(), Object.keys(links).toSorted());
  });

  it('leave a setting of the operator in force, and PORT at its default where a link shadows it (FIELD-F1)', () => {
    const { GATEHOUSE_ADMIN_PORT: _, ...others } = service('GATEHOUSE_ADMIN');
    assert.equal(readConfig({ ...others, GATEHOUSE_ADMIN_PORT: '3001' }).adminPort, 3001);
    assert.equal(readConfig({ PORT: `tcp://${IP}:80` }).port, 3000);
  });

  it('are told from mistakes: other unknown names and other values are refused (FIELD-F1)', () => {
    const mistakes = {
      GATEHOUSE_SERVICE_HOST: 'id.example.com',
      GATEHOUSE_SERVICE_PORT: 'http',
      GATEHOUSE_PORT: '3000',
      GATEHOUSE_PORT_3000_TCP: '3000',
      GATEHOUSE_NAME: 'gatehouse',
      GATEHOUSE_ENV_FILE: '/etc/gatehouse',
      GATEHOUSE_TRUSTED_PROXY: IP,
    };
    assert.throws(
      () => readConfig(mistakes),
      new BadConfiguration(
        Object.keys(mistakes)
          .map((name) => `${name} is not a variable of Gatehouse.`)
          .join('\n'),
      ),
    );
    assert.throws(() => readConfig({ GATEHOUSE_ADMIN_PORT: 'tcp://' }), /^Error: GATEHOUSE_ADMIN_PORT must be a port/);
  });
});
