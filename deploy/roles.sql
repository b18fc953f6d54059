-- The role that the server works as (docs/operating.md, Two roles). The owner of the tables runs this; again does no harm.
\getenv server_password SERVER_PASSWORD
select not exists (select from pg_roles where rolname = 'gatehouse_server') as is_missing \gset
\if :is_missing
create role gatehouse_server login nosuperuser nocreatedb nocreaterole;
\endif
alter role gatehouse_server password :'server_password';
